//! What the host name of an endpoint of RDS tells: `NAME.cluster-abc.REGION.rds.amazonaws.com` is a cluster's writer,
//! `NAME.cluster-ro-abc…` its readers, `NAME.cluster-custom-abc…` an endpoint that somebody made, `NAME.abc…` an instance
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Endpoints.Cluster.html>). Pure.

/// The region; `None` for hosts that are not of RDS.
pub(crate) fn region(host: &str) -> Option<&str> {
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let (_, region) = host.strip_suffix(".rds.amazonaws.com")?.rsplit_once('.')?;
    (!region.is_empty()).then_some(region)
}

/// The identifier of the cluster whose writer this is.
pub(crate) fn writer(host: &str) -> Option<&str> {
    let (name, kind) = parts(host)?;
    let other = kind.starts_with("cluster-ro-") || kind.starts_with("cluster-custom-");
    (kind.starts_with("cluster-") && !other).then_some(name)
}

/// The identifier of the cluster whose writer or readers are at this host; `None` where the name does not tell it.
pub fn cluster_at(host: &str) -> Option<&str> {
    let (name, kind) = parts(host)?;
    (kind.starts_with("cluster-") && !kind.starts_with("cluster-custom-")).then_some(name)
}

/// The first two labels of a host of RDS.
fn parts(host: &str) -> Option<(&str, &str)> {
    region(host)?;
    let (name, rest) = host.split_once('.')?;
    let (kind, _) = rest.split_once('.')?;
    (!name.is_empty()).then_some((name, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_region_and_mostly_its_cluster() {
        for (host, writes, at) in [
            ("chat.cluster-abc.us-east-1.rds.amazonaws.com", Some("chat"), Some("chat")),
            ("chat.cluster-abc.cn-north-1.rds.amazonaws.com.cn", Some("chat"), Some("chat")),
            ("chat.cluster-ro-abc.us-east-1.rds.amazonaws.com", None, Some("chat")),
            ("mine.cluster-custom-abc.us-east-1.rds.amazonaws.com", None, None),
            ("i.abc.us-east-1.rds.amazonaws.com", None, None),
            ("chat.cluster-abc.example.org", None, None),
            (".cluster-abc.us-east-1.rds.amazonaws.com", None, None),
            ("rds.amazonaws.com", None, None),
            ("localhost", None, None),
        ] {
            assert_eq!((writer(host), cluster_at(host)), (writes, at), "{host}");
        }
        assert_eq!(region("i.abc.cn-north-1.rds.amazonaws.com.cn"), Some("cn-north-1"));
        assert_eq!((region("x.rds.amazonaws.com.example"), region("db.example.org")), (None, None));
    }
}
