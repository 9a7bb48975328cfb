//! Tags and names. Both are read by people in the console, and by runs that continue.

use std::collections::BTreeMap;
use std::fmt;

use vecferry_core::pg::Dsn;

/// Migration id.
pub(super) const MIGRATION: &str = "vecferry:migration";
/// The target: `host:port/database`.
pub(super) const TARGET: &str = "vecferry:target";
/// Resource id of the target's cluster, which an address behind a tunnel does not tell.
pub(super) const TARGET_CLUSTER: &str = "vecferry:target-cluster";
/// ARN of the snapshot that was restored.
pub(super) const SNAPSHOT: &str = "vecferry:snapshot";
/// Identifier of the cluster it was taken of.
pub(super) const SOURCE_CLUSTER: &str = "vecferry:source-cluster";
/// When it was taken, RFC 3339.
pub(super) const SNAPSHOT_TIME: &str = "vecferry:snapshot-time";
/// Version of the secret whose password was set; written last.
pub(super) const READY: &str = "vecferry:ready";
/// On the target's cluster: its capacity before it was raised, `least-most` in ACUs.
pub(super) const CAPACITY: &str = "vecferry:capacity";
/// On the target's cluster, followed by the database: the id of the restore that was begun for it.
const RESTORE: &str = "vecferry:restore/";

/// Most characters of a tag's value; of a key it is half of that
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Tagging.html>).
const VALUE: usize = 256;

/// The database that is migrated to, as tags name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    /// Host of its endpoint.
    pub host: String,
    /// Port of its endpoint.
    pub port: u16,
    /// Database.
    pub database: String,
}

impl From<&Dsn> for TargetName {
    fn from(dsn: &Dsn) -> TargetName {
        TargetName { host: dsn.host.clone(), port: dsn.port, database: dsn.database.clone() }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}

impl TargetName {
    /// The value of the tag `vecferry:target`.
    pub(super) fn tag(&self) -> String {
        let host = self.host.to_ascii_lowercase();
        fitting(&format!("{host}:{}/{}", self.port, self.database), VALUE)
    }

    /// The key of the reservation on the target's cluster.
    pub(super) fn reservation(&self) -> String {
        format!("{RESTORE}{}", fitting(&self.database, VALUE / 2 - RESTORE.len()))
    }

    /// Whether its host is one that RDS gives, and no other cluster has at the same time.
    pub fn is_of_rds(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        [".rds.amazonaws.com", ".rds.amazonaws.com.cn"].iter().any(|end| host.ends_with(end))
    }

    /// Whether these are tags of something that was made for a target of this address and database, and for which
    /// migration. Whether it is this target, [`super::owner`] decides.
    pub(super) fn migration<'a>(&self, tags: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let ours = tags.get(TARGET).is_some_and(|target| *target == self.tag());
        tags.get(MIGRATION).filter(|_| ours).map(String::as_str)
    }
}

/// Whether it was made by vecferry, for whatever target.
pub(super) fn is_ours(tags: &BTreeMap<String, String>) -> bool {
    tags.contains_key(MIGRATION) && tags.contains_key(TARGET)
}

/// Whether a tag's key is that of a reservation, for whatever database.
pub(super) fn is_reservation(key: &str) -> bool {
    key.starts_with(RESTORE)
}

/// Tags take letters, digits, spaces and `_ . : / = + - @`; others are written as `=XX` by their bytes. Of what is too
/// long the end is kept, where the database is.
fn fitting(text: &str, most: usize) -> String {
    let mut fit = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | ':' | '/' | '+' | '-' | '@' => {
                fit.push(character);
            }
            other => {
                let mut bytes = [0; 4];
                for byte in other.encode_utf8(&mut bytes).bytes() {
                    fit.push_str(&format!("={byte:02X}"));
                }
            }
        }
    }
    let beyond = fit.len().saturating_sub(most);
    fit.split_off(beyond)
}

/// The identifier of cluster and snapshot: `vecferry-0198c3f1-1a2b3c4d5e6f`.
pub(super) fn identifier(id: &str) -> String {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let digits = digits.to_ascii_lowercase();
    let (first, last) = (digits.get(..8), digits.get(digits.len().saturating_sub(12)..));
    format!("vecferry-{}-{}", first.unwrap_or(&digits), last.unwrap_or(&digits))
}

/// The identifier of the cluster's instance.
pub(super) fn instance(id: &str) -> String {
    format!("{}-1", identifier(id))
}

/// The name of the cluster's secret.
pub(super) fn secret(id: &str) -> String {
    format!("vecferry/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(database: &str) -> TargetName {
        TargetName { host: "Db.Example.com".into(), port: 5432, database: database.into() }
    }

    #[test]
    fn a_target_is_named_by_what_tags_can_hold() {
        assert_eq!(target("postgres").tag(), "db.example.com:5432/postgres");
        assert_eq!(target("a=b ü").tag(), "db.example.com:5432/a=3Db=20=C3=BC");
        assert_eq!(target("kb").reservation(), "vecferry:restore/kb");
        let long = target(&"ü".repeat(63));
        assert_eq!((long.tag().len(), long.reservation().len()), (256, 128));
    }

    #[test]
    fn only_what_carries_both_tags_is_ours() {
        let tags = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let of = target("kb");
        let there = "db.example.com:5432/kb";
        assert_eq!(of.migration(&tags(&[(MIGRATION, "m"), (TARGET, there)])), Some("m"));
        assert_eq!(of.migration(&tags(&[(TARGET, there)])), None);
        let other = tags(&[(MIGRATION, "m"), (TARGET, "db.example.com:5432/kb2")]);
        assert_eq!((of.migration(&other), is_ours(&other)), (None, true));
    }

    #[test]
    fn only_hosts_of_rds_are_taken_for_such() {
        let of_rds = |host: &str| TargetName { host: host.into(), ..target("kb") }.is_of_rds();
        assert!(of_rds("c.cluster-x.eu-west-1.RDS.amazonaws.com"));
        assert!(of_rds("c.cluster-x.cn-north-1.rds.amazonaws.com.cn"));
        assert!(!of_rds("localhost") && !of_rds("rds.amazonaws.com.example"));
    }

    #[test]
    fn names_come_from_the_id() {
        let id = "0198c3f1-7000-7abc-8def-1a2b3c4d5e6f";
        assert_eq!(identifier(id), "vecferry-0198c3f1-1a2b3c4d5e6f");
        assert_eq!(instance(id), "vecferry-0198c3f1-1a2b3c4d5e6f-1");
        assert_eq!(secret(id), format!("vecferry/{id}"));
    }
}
