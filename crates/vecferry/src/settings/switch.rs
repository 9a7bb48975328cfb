//! What points the application at the other cluster: a command or a secret, of the flags, else of the file.

use std::sync::Arc;

use vecferry_aws::SecretSwitch;
use vecferry_core::cutover::switch::{CommandSwitch, Switch};

use super::Settings;
use crate::cli::Crossing;
use crate::error::{Error, Mistake};

/// Which switch is named.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Command(String),
    Secret(String),
}

impl Settings {
    /// The switch; `None` leaves it to the operator.
    pub(crate) async fn switch(&self, flags: &Crossing) -> Result<Option<Arc<dyn Switch>>, Error> {
        Ok(match self.switch_named([&flags.switch, &flags.switch_secret])? {
            None => None,
            Some(Named::Command(command)) => Some(Arc::new(CommandSwitch::new(command))),
            Some(Named::Secret(secret)) => {
                let account = self.account_of(&secret).await;
                Some(Arc::new(SecretSwitch::new(&account, secret)))
            }
        })
    }

    /// A flag for one wins over a line for the other; an empty one counts as absent.
    fn switch_named(
        &self,
        [command, secret]: [&Option<String>; 2],
    ) -> Result<Option<Named>, Mistake> {
        let (command, secret) = match (command, secret) {
            (None, None) => (&self.file.switch, &self.file.switch_secret),
            flags => flags,
        };
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        match (given(command), given(secret)) {
            (Some(_), Some(_)) => Err(Mistake::new(
                "the switch is a command and a secret",
                "leave out `switch` or `switch_secret`: a command can change a secret as well",
            )),
            (Some(command), None) => Ok(Some(Named::Command(command))),
            (None, secret) => Ok(secret.map(Named::Secret)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::File;

    fn named(file: &str, flags: [&str; 2]) -> Result<Option<Named>, Mistake> {
        let settings = Settings::of(File::parse(file, Path::new("v.toml")).unwrap());
        let flag = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
        settings.switch_named([&flag(flags[0]), &flag(flags[1])])
    }

    #[test]
    fn one_switch_is_taken_and_a_flag_for_one_wins_over_a_line_for_the_other() {
        let (command, secret) =
            (|c: &str| Named::Command(c.into()), |s: &str| Named::Secret(s.into()));
        assert_eq!(named("", ["-", "-"]), Ok(None));
        assert_eq!(named("switch = ''", ["-", "-"]), Ok(None));
        assert_eq!(named("switch = 'a'", ["-", "-"]), Ok(Some(command("a"))));
        assert_eq!(named("switch_secret = 's'", ["-", "-"]), Ok(Some(secret("s"))));
        assert_eq!(named("switch = 'a'", ["-", "t"]), Ok(Some(secret("t"))));
        assert_eq!(named("switch_secret = 's'", ["b", "-"]), Ok(Some(command("b"))));
        assert_eq!(named("switch_secret = 's'", ["", "-"]), Ok(None), "none is wanted");
        assert!(named("switch = 'a'\nswitch_secret = 's'", ["-", "-"]).is_err());
    }
}
