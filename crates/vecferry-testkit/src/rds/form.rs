//! A request of the AWS Query protocol: names with dots, lists by number
//! (<https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>).

use std::collections::BTreeMap;

/// The parameters of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form(pub(super) BTreeMap<String, String>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Form {
        Form(url::form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value, or nothing of it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// A list of texts: `VpcSecurityGroupIds.VpcSecurityGroupId.1` and so on.
    pub(super) fn list(&self, name: &str, member: &str) -> Vec<String> {
        (1..).map_while(|n| self.get(&format!("{name}.{member}.{n}"))).map(str::to_owned).collect()
    }

    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let tag = |n: u32| {
            let key = self.get(&format!("Tags.Tag.{n}.Key"))?;
            Some((key.to_owned(), self.text(&format!("Tags.Tag.{n}.Value")).to_owned()))
        };
        (1..).map_while(tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tags_are_read_by_number() {
        let form = Form::parse(
            b"Action=X&Tags.Tag.1.Key=a%3Ab&Tags.Tag.1.Value=c%20d&Tags.Tag.2.Key=e&Ids.Id.1=x&Ids.Id.2=y",
        );
        assert_eq!(form.tags()["a:b"], "c d");
        assert_eq!((form.tags().len(), form.list("Ids", "Id")), (2, vec!["x".into(), "y".into()]));
    }
}
