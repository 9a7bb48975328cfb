//! CloudFormation stacks with given outputs.

use serde_json::{Map, Value, json};

use super::ChatBucket;
use crate::error::Result;
use crate::moto::Moto;
use crate::moto::wire::Wire;

/// Outputs of a stack that is to be made.
#[derive(Debug, Clone, Default)]
pub struct ChatStack {
    outputs: Vec<(String, String)>,
    nested: Option<Vec<(String, String)>>,
    resources: usize,
}

impl ChatStack {
    /// A stack with these outputs.
    pub fn new(outputs: &[(&str, &str)]) -> ChatStack {
        ChatStack { outputs: owned(outputs), nested: None, resources: 1 }
    }

    /// The same with a stack nested in it that has these outputs.
    #[must_use]
    pub fn nesting(mut self, outputs: &[(&str, &str)]) -> ChatStack {
        self.nested = Some(owned(outputs));
        self
    }

    /// The same with so many resources, at least one: lists of them come in pages.
    #[must_use]
    pub fn of(mut self, resources: usize) -> ChatStack {
        self.resources = resources.max(1);
        self
    }

    /// Makes it and gives its name.
    pub async fn create(&self, moto: &Moto) -> Result<String> {
        let name = Moto::unique("BedrockChatStack");
        let mut template = template(&name, &self.outputs, self.resources);
        if let Some(nested) = &self.nested {
            let bucket = ChatBucket::create(moto).await?;
            let text = self::template(&format!("{name}-nested"), nested, 1).to_string();
            bucket.put("nested.json", text.into_bytes()).await?;
            let url = format!("https://s3.amazonaws.com/{}/nested.json", bucket.name());
            template["Resources"]["Nested"] = json!({
                "Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": url},
            });
        }
        let text = template.to_string();
        let parameters = [("StackName", name.as_str()), ("TemplateBody", text.as_str())];
        Wire::to(moto).cloudformation("CreateStack", &parameters).await?;
        Ok(name)
    }
}

fn owned(outputs: &[(&str, &str)]) -> Vec<(String, String)> {
    outputs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A template needs a resource; a topic is the smallest that costs nothing.
fn template(name: &str, outputs: &[(String, String)], resources: usize) -> Value {
    let topic = |number| {
        let topic = json!({"TopicName": format!("{name}-{number}")});
        (format!("Topic{number}"), json!({"Type": "AWS::SNS::Topic", "Properties": topic}))
    };
    let resources: Map<String, Value> = (0..resources).map(topic).collect();
    let outputs: Map<String, Value> =
        outputs.iter().map(|(key, value)| (key.clone(), json!({"Value": value}))).collect();
    json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources, "Outputs": outputs})
}
