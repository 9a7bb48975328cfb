//! Help, version and the settings file.

use crate::program::Program;

const COMMANDS: [&str; 10] = [
    "init", "check", "plan", "migrate", "status", "verify", "cutover", "rollback", "cleanup",
    "restore",
];

#[test]
fn help_states_the_default_of_every_flag_that_takes_a_value() {
    for command in COMMANDS {
        let help = Program::new().run(&[command, "--help"]).expect(0).stdout;
        let flags = help.split("\n      --").skip(1).chain(help.split("\n  -").skip(1));
        for flag in flags.filter(|flag| flag.lines().next().is_some_and(|line| line.contains('<')))
        {
            assert!(flag.contains("[default:"), "{command}: no default of --{flag}");
        }
    }
}

#[test]
fn help_never_shows_what_a_variable_holds() {
    let program = Program::new()
        .set("VECFERRY_SOURCE", "postgres://u:hunter2@h/d")
        .set("VECFERRY_TARGET", "postgres://u:hunter3@h/d");
    for command in COMMANDS {
        let help = program.run(&[command, "--help"]).expect(0).stdout;
        assert!(help.contains("VECFERRY_SOURCE") && !help.contains("hunter"), "{help}");
    }
}

#[test]
fn init_writes_a_file_that_the_other_commands_read_and_never_overwrites_one() {
    let program = Program::new();
    program.run(&["init"]).expect(0);
    let again = program.run(&["init"]).expect(2);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    program.run(&["init", "--force"]).expect(0);
    assert!(program.folder().join("vecferry.toml").exists());
    let missing = program.run(&["status"]).expect(2);
    assert!(missing.stderr.contains("the target is not known"), "{}", missing.stderr);
}

#[test]
fn nothing_but_data_goes_to_stdout() {
    let program = Program::new();
    assert_eq!(program.run(&["status"]).expect(2).stdout, "");
    assert_eq!(program.run(&["--json", "status"]).expect(2).stdout, "");
    assert_eq!(program.run(&["nonsense"]).expect(2).stdout, "");
}
