//! Task definitions: what is registered, and how the service shows it.

use serde_json::{Value, json};

/// One revision of a task definition with one essential container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Family.
    pub family: String,
    /// Revision.
    pub revision: u32,
    /// Name of its container.
    pub container: String,
    /// Arguments after the image's entry point when nothing overrides them.
    pub command: Vec<String>,
    /// Environment of the container.
    pub environment: Vec<(String, String)>,
    /// CPU units; 1024 are one vCPU.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// `awsvpc` on Fargate.
    pub network_mode: String,
    /// `FARGATE`, `EC2`.
    pub compatibilities: Vec<String>,
    /// Whether it is `ACTIVE`, or deregistered.
    pub active: bool,
}

impl Definition {
    /// What Bedrock Chat v1 deploys: `Container`, 2 vCPUs, 4 GiB, awsvpc on Fargate (cdk.json and
    /// cdk/lib/constructs/embedding.ts of v1.4.0).
    pub fn bedrock_chat(family: &str, revision: u32) -> Definition {
        Definition {
            family: family.into(),
            revision,
            container: "Container".into(),
            command: vec!["-u".into(), "embedding/main.py".into()],
            environment: vec![("BEDROCK_REGION".into(), "us-east-1".into())],
            cpu: 2048,
            memory: 4096,
            network_mode: "awsvpc".into(),
            compatibilities: vec!["EC2".into(), "FARGATE".into()],
            active: true,
        }
    }

    /// `family:revision`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.family, self.revision)
    }

    /// vCPUs of a task.
    pub(super) fn vcpus(&self) -> f64 {
        f64::from(self.cpu) / 1024.0
    }

    pub(super) fn arn(&self, place: &str) -> String {
        format!("arn:aws:ecs:{place}:task-definition/{}", self.name())
    }

    pub(super) fn to_json(&self, place: &str) -> Value {
        let environment: Vec<Value> = self
            .environment
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        json!({
            "taskDefinitionArn": self.arn(place),
            "family": self.family,
            "revision": self.revision,
            "status": if self.active { "ACTIVE" } else { "INACTIVE" },
            "networkMode": self.network_mode,
            "compatibilities": self.compatibilities,
            "requiresCompatibilities": self.compatibilities,
            "cpu": self.cpu.to_string(),
            "memory": self.memory.to_string(),
            "containerDefinitions": [{
                "name": self.container,
                "image": format!("111122223333.dkr.ecr.us-east-1.amazonaws.com/{}:latest", self.family),
                "essential": true,
                "cpu": 0,
                "command": self.command,
                "environment": environment,
            }],
        })
    }
}
