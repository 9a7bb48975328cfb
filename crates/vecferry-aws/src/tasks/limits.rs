//! What the account lets run at the same time, from Service Quotas; and how fast tasks may be launched.

use aws_sdk_ecs::types::TaskDefinition;
use vecferry_core::reembed::task::RunnerLimits;
use vecferry_core::{Class, Result};

use super::{Capacity, EcsTasks};
use crate::failure;

/// Service code of Fargate in Service Quotas.
const FARGATE: &str = "fargate";

/// "Fargate On-Demand vCPU resource count".
const ON_DEMAND: &str = "L-3032A538";

/// "Fargate Spot vCPU resource count".
const SPOT: &str = "L-36FBB829";

/// `RunTask` calls per second for an account and region, burst and sustained; Fargate refills its launches at the same
/// rate (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/throttling.html>).
const CALLS_PER_SECOND: f64 = 20.0;

impl EcsTasks {
    /// Launches per second and tasks at the same time. What this account may not ask is left out.
    pub(super) async fn find_limits(&self) -> Result<RunnerLimits> {
        let launches_per_second = Some(CALLS_PER_SECOND);
        let code = match &self.settings.capacity {
            Capacity::Fargate => ON_DEMAND,
            Capacity::FargateSpot => SPOT,
            // Instances are somebody's own: no quota of the account says how many tasks they hold.
            Capacity::Ec2 | Capacity::Provider(_) => {
                return Ok(RunnerLimits { launches_per_second, in_flight: None });
            }
        };
        let (quota, size) = (self.quota(code).await?, self.task_vcpus().await?);
        let in_flight = quota.zip(size).and_then(|(quota, size)| tasks(quota, size));
        Ok(RunnerLimits { launches_per_second, in_flight })
    }

    async fn quota(&self, code: &str) -> Result<Option<f64>> {
        let request = self.quotas.get_service_quota().service_code(FARGATE).quota_code(code);
        match request.send().await {
            Ok(answer) => Ok(answer.quota.and_then(|quota| quota.value)),
            Err(error) if failure::class_of(&error) == Class::Operator => {
                let said = failure::said(&error);
                tracing::info!(quota = code, said, "the account's quota is not known");
                Ok(None)
            }
            Err(error) => {
                Err(failure::failed("Service Quotas", format!("read quota {code}"), &error))
            }
        }
    }

    async fn task_vcpus(&self) -> Result<Option<f64>> {
        let name = &self.settings.task_definition;
        let request = self.reading.describe_task_definition().task_definition(name);
        match request.send().await {
            Ok(answer) => Ok(answer.task_definition.as_ref().and_then(vcpus)),
            Err(error) if failure::class_of(&error) == Class::Operator => {
                let said = failure::said(&error);
                tracing::info!(definition = name, said, "the size of a task is not known");
                Ok(None)
            }
            Err(error) => {
                Err(failure::failed("ECS", format!("read task definition {name}"), &error))
            }
        }
    }
}

/// vCPUs of a task; 1024 CPU units are one.
pub(super) fn vcpus(definition: &TaskDefinition) -> Option<f64> {
    let units: f64 = definition.cpu()?.parse().ok()?;
    (units > 0.0).then_some(units / 1024.0)
}

/// Whole tasks that a quota holds, where both are numbers that make sense.
fn tasks(quota: f64, size: f64) -> Option<usize> {
    let sensible = quota.is_finite() && quota >= 0.0 && size > 0.0;
    // At most 2^32: a cast of more would say nothing.
    sensible.then(|| (quota / size).floor().min(f64::from(u32::MAX)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cpu: &str) -> Option<f64> {
        vcpus(&TaskDefinition::builder().cpu(cpu).build())
    }

    #[test]
    fn units_are_1024_to_a_vcpu() {
        assert_eq!(of("2048"), Some(2.0));
        assert_eq!(of("256"), Some(0.25));
        assert_eq!(of("0"), None);
        assert_eq!(of("two"), None);
        assert_eq!(vcpus(&TaskDefinition::builder().build()), None);
    }

    #[test]
    fn a_quota_holds_whole_tasks() {
        assert_eq!(tasks(6.0, 2.0), Some(3));
        assert_eq!(tasks(7.9, 2.0), Some(3));
        assert_eq!(tasks(4000.0, 0.25), Some(16_000));
        assert_eq!(tasks(1.0, 2.0), Some(0));
        assert_eq!(tasks(f64::NAN, 2.0), None);
        assert_eq!(tasks(-1.0, 2.0), None);
    }
}
