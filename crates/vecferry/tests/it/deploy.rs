//! What `deploy/` holds is what the program is: its policies are those that it prints, and the image's entry point takes
//! every launch to the right command. The template and the Dockerfile are linted by `cargo xtask check`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::Program;

const POLICIES: [&str; 9] =
    ["bots", "copy", "cutover", "delta", "follow", "init", "reembed", "restore", "worker"];

/// Characters of a managed policy, white space not counted
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
const LONGEST: usize = 6144;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}

#[test]
fn the_policies_are_those_that_the_program_prints() {
    let program = Program::new()
        .set("AWS_EC2_METADATA_DISABLED", "true")
        .set("AWS_REGION", "")
        .set("AWS_DEFAULT_REGION", "");
    program.write("vecferry.toml", &read("policies/settings.toml"));
    for name in POLICIES {
        let printed = program.run(&["check", "--quiet", "--print-policy", name]).expect(0).stdout;
        let file = deploy().join(format!("policies/{name}.json"));
        // For whoever changed what the program needs: write them anew, and read what has changed.
        if std::env::var_os("VECFERRY_TEST_WRITE_POLICIES").is_some() {
            std::fs::write(&file, &printed).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            kept, printed,
            "{name}.json: set VECFERRY_TEST_WRITE_POLICIES=1 to write them anew"
        );
        let policy: Value = serde_json::from_str(&kept).unwrap();
        assert!(policy.to_string().len() <= LONGEST, "{name} is too long for one policy");
    }
    let files = std::fs::read_dir(deploy().join("policies")).unwrap();
    assert_eq!(files.count(), POLICIES.len() + 1, "no policy that nobody prints");
}

#[test]
fn no_policy_allows_everything_of_a_service() {
    for name in POLICIES {
        let policy: Value = serde_json::from_str(&read(&format!("policies/{name}.json"))).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            let actions = match &statement["Action"] {
                Value::Array(actions) => actions.clone(),
                one => vec![one.clone()],
            };
            for action in actions {
                assert!(!action.as_str().unwrap().contains('*'), "{name}: {action}");
            }
            // No tag that whoever holds the policy may set makes somebody else's cluster theirs.
            let text = statement.to_string();
            assert!(!text.contains(":cluster:*") && !text.contains(":db:*"), "{name}: {text}");
        }
    }
}

/// What the entry point starts, given arguments and variables: `vecferry` and its arguments, one a line, then what it
/// finds in the variable VECFERRY_CONFIG.
fn entered(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let program = folder.join("vecferry");
    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" \"config=${VECFERRY_CONFIG:-}\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let output = Command::new("sh")
        .arg(deploy().join("entrypoint.sh"))
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .env("TMPDIR", folder)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_entry_point_serves_both_contracts_of_a_worker_and_the_operator() {
    const KEYS: &str = r#"{"PK": {"S": "u"}, "SK": {"S": "u#BOT#b"}}"#;
    let folder = tempfile::tempdir().unwrap();
    let old: &[&str] = &["-u", "embedding/main.py", KEYS];
    let event: &[(&str, &str)] = &[("EVENT", KEYS)];
    for (arguments, variables, expected) in [
        (&[][..], event, vec!["worker"]),
        (old, &[][..], vec!["worker", "-u", "embedding/main.py", KEYS]),
        (old, event, vec!["worker", "-u", "embedding/main.py", KEYS]),
        (&["worker", "--bot", "u/b"], event, vec!["worker", "--bot", "u/b"]),
        (&["migrate", "--yes"], &[], vec!["migrate", "--yes"]),
        (&["--help"], &[("EVENT", "")], vec!["--help"]),
    ] {
        let expected: Vec<&str> = expected.into_iter().chain(["config="]).collect();
        assert_eq!(entered(folder.path(), arguments, variables), expected, "{arguments:?}");
    }
}

#[test]
fn settings_that_come_as_text_become_a_file_that_nobody_else_reads() {
    let folder = tempfile::tempdir().unwrap();
    let text = "target = 'postgresql://t/db'\n# a comment";
    let said = entered(folder.path(), &["check"], &[("VECFERRY_SETTINGS", text)]);
    let file = folder.path().join("vecferry.toml");
    assert_eq!(said, ["check".to_owned(), format!("config={}", file.display())]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{text}\n"));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let both = [("VECFERRY_SETTINGS", "x"), ("VECFERRY_CONFIG", "/own.toml")];
    assert_eq!(entered(folder.path(), &["check"], &both), ["check", "config=/own.toml"]);
}

#[test]
fn the_task_definition_runs_without_privileges_of_its_own() {
    let definition: Value = serde_json::from_str(&read("task-definition.json")).unwrap();
    let container = &definition["containerDefinitions"][0];
    assert_eq!(container["name"], "vecferry");
    assert!(container["privileged"].is_null() && container["environment"].is_null());
    assert_eq!(definition["networkMode"], "awsvpc");
    assert_eq!(container["secrets"][0]["name"], "VECFERRY_SETTINGS");
}
