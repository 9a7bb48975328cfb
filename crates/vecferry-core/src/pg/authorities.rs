//! The authorities that vouch for RDS and Aurora. Operating systems do not know them, so they come with the program and
//! hosts of RDS are verified without anybody downloading a file first.
//!
//! Where `rds-ca.pem` comes from stands in `rds-ca.md` beside it. A certificate that an operator names (`sslrootcert`)
//! takes the place of all others. RDS Proxy's certificates are those of public authorities, which the system knows.

/// Certificates of Amazon's RDS authorities, all regions, in PEM form.
pub(crate) const RDS: &[u8] = include_bytes!("rds-ca.pem");

/// Domains that RDS gives its endpoints
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Endpoints.html>).
const DOMAINS: [&str; 2] = [".rds.amazonaws.com", ".rds.amazonaws.com.cn"];

/// Whether RDS made this name, so that its authorities made the certificate.
pub(crate) fn is_rds(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    DOMAINS.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn every_certificate_can_be_trusted_and_the_current_ones_of_each_kind_are_there() {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(RDS) {
            roots.add(certificate.unwrap()).unwrap();
        }
        assert_eq!(roots.len(), 102);
        let subjects: Vec<String> =
            roots.roots.iter().map(|root| String::from_utf8_lossy(&root.subject).into()).collect();
        for region in ["us-east-1", "us-west-2", "eu-central-1", "ap-northeast-1", "sa-east-1"] {
            for kind in ["RSA2048", "RSA4096", "ECC384"] {
                let name = format!("Amazon RDS {region} Root CA {kind} G1");
                assert!(subjects.iter().any(|subject| subject.contains(&name)), "{name}");
            }
        }
    }
}
