//! Whether tasks could be started at all, by harmless reads, so that the operator is asked only about what can work.

use aws_sdk_ecs::types::{Compatibility, NetworkMode, TaskDefinition, TaskDefinitionStatus};
use vecferry_core::{Error, Result};

use super::limits::vcpus;
use super::{Capacity, EcsSettings, EcsTasks};
use crate::failure;

/// What tasks will be, as found.
#[derive(Debug, Clone, PartialEq)]
pub struct EcsReady {
    /// `family:revision` that will run: a family alone was resolved to its newest active revision.
    pub definition: String,
    /// Image of the worker's container.
    pub image: Option<String>,
    /// vCPUs of a task, where the definition says.
    pub vcpus: Option<f64>,
    /// Memory of a task in MiB, where the definition says.
    pub memory_mib: Option<u64>,
}

impl EcsTasks {
    /// Whether the cluster is active and the task definition is active, has the worker's container and suits the
    /// settings. Starts nothing.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings do not fit what is there, [`Error::Service`] when it cannot be read.
    pub async fn check(&self) -> Result<EcsReady> {
        let cluster = &self.settings.cluster;
        let answer = self.reading.describe_clusters().clusters(cluster).send().await;
        let answer = answer
            .map_err(|error| failure::failed("ECS", format!("read cluster {cluster}"), &error))?;
        let status = answer.clusters().first().and_then(|cluster| cluster.status());
        if status != Some("ACTIVE") {
            let found = status.unwrap_or("not there");
            return Err(Error::Configuration {
                what: format!("{} is {}", self.place(), found.to_lowercase()),
                hint: Some("name the cluster of the deployed stack, in its region".into()),
            });
        }
        let name = &self.settings.task_definition;
        let request = self.reading.describe_task_definition().task_definition(name);
        let answer = request.send().await.map_err(|error| {
            failure::failed("ECS", format!("read task definition {name}"), &error)
        })?;
        let definition = answer.task_definition().ok_or_else(|| Error::Configuration {
            what: format!("task definition {name} is not there"),
            hint: None,
        })?;
        fits(&self.settings, definition)
    }
}

/// Whether a task definition suits the settings; the first thing that does not.
fn fits(settings: &EcsSettings, definition: &TaskDefinition) -> Result<EcsReady> {
    let name = match definition.family() {
        Some(family) => format!("{family}:{}", definition.revision()),
        None => settings.task_definition.clone(),
    };
    let wrong =
        |what: String, hint: &str| Err(Error::Configuration { what, hint: Some(hint.to_owned()) });
    if definition.status() != Some(&TaskDefinitionStatus::Active) {
        return wrong(
            format!("task definition {name} is not active"),
            "name an active revision, or the family alone for its newest",
        );
    }
    let containers = definition.container_definitions();
    let wanted = settings.container.as_str();
    let Some(container) = containers.iter().find(|one| one.name() == Some(wanted)) else {
        let names: Vec<&str> = containers.iter().filter_map(|one| one.name()).collect();
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return wrong(
            format!("task definition {name} has no container {wanted} (it has {found})"),
            "name the container that runs the worker",
        );
    };
    let own_interface = definition.network_mode() == Some(&NetworkMode::Awsvpc);
    if own_interface == settings.subnets.is_empty() {
        return match own_interface {
            true => wrong(
                format!("tasks of {name} need a subnet, and none is given"),
                "name private subnets of the stack's VPC that reach the internet",
            ),
            false => wrong(
                format!("tasks of {name} take no subnets: their network mode is not awsvpc"),
                "leave subnets and security groups out",
            ),
        };
    }
    let fargate = matches!(settings.capacity, Capacity::Fargate | Capacity::FargateSpot);
    if fargate && !definition.compatibilities().contains(&Compatibility::Fargate) {
        return wrong(
            format!("task definition {name} does not run on Fargate"),
            "choose EC2 or the cluster's capacity provider",
        );
    }
    Ok(EcsReady {
        definition: name,
        image: container.image().map(str::to_owned),
        vcpus: vcpus(definition),
        memory_mib: definition.memory().and_then(|memory| memory.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::ContainerDefinition;
    use aws_sdk_ecs::types::builders::TaskDefinitionBuilder;

    use super::*;

    fn settings() -> EcsSettings {
        EcsSettings::new("chat", "embedding:3", vec!["subnet-1".into()])
    }

    fn definition() -> TaskDefinitionBuilder {
        TaskDefinition::builder()
            .family("embedding")
            .revision(3)
            .status(TaskDefinitionStatus::Active)
            .network_mode(NetworkMode::Awsvpc)
            .compatibilities(Compatibility::Fargate)
            .cpu("2048")
            .memory("4096")
            .container_definitions(
                ContainerDefinition::builder().name("Container").image("worker:1").build(),
            )
    }

    fn refused(settings: &EcsSettings, definition: TaskDefinitionBuilder) -> String {
        fits(settings, &definition.build()).unwrap_err().to_string()
    }

    #[test]
    fn what_tasks_will_be_is_told() {
        let ready = fits(&settings(), &definition().build()).unwrap();
        let expected = EcsReady {
            definition: "embedding:3".into(),
            image: Some("worker:1".into()),
            vcpus: Some(2.0),
            memory_mib: Some(4096),
        };
        assert_eq!(ready, expected);
    }

    #[test]
    fn a_revision_that_is_not_active_is_refused() {
        let inactive = definition().status(TaskDefinitionStatus::Inactive);
        assert_eq!(refused(&settings(), inactive), "task definition embedding:3 is not active");
    }

    #[test]
    fn a_container_that_is_not_there_is_refused_with_those_that_are() {
        let mut settings = settings();
        settings.container = "worker".into();
        let said = refused(&settings, definition());
        assert_eq!(said, "task definition embedding:3 has no container worker (it has Container)");
    }

    #[test]
    fn subnets_go_with_awsvpc_and_only_with_it() {
        let mut without = settings();
        without.subnets.clear();
        assert!(refused(&without, definition()).contains("need a subnet"));
        let bridge = || definition().network_mode(NetworkMode::Bridge);
        assert!(refused(&settings(), bridge()).contains("take no subnets"));
        assert!(fits(&without, &bridge().build()).is_ok());
    }

    #[test]
    fn fargate_needs_a_definition_that_runs_there() {
        let ec2 = || definition().set_compatibilities(Some(vec![Compatibility::Ec2]));
        assert!(refused(&settings(), ec2()).contains("does not run on Fargate"));
        let mut settings = settings();
        settings.capacity = Capacity::Ec2;
        assert!(fits(&settings, &ec2().build()).is_ok());
    }
}
