//! Service Quotas, as far as Fargate is concerned.

use serde_json::{Value, json};

use super::state::State;
use super::wire::Refusal;

/// Quotas of the service `fargate` and their codes.
const QUOTAS: [(&str, &str); 2] = [
    ("L-3032A538", "Fargate On-Demand vCPU resource count"),
    ("L-36FBB829", "Fargate Spot vCPU resource count"),
];

pub(super) fn get(state: &State, body: &Value) -> Result<Value, Refusal> {
    let value = permitted(state, "GetServiceQuota")?;
    let code = body["QuotaCode"].as_str().unwrap_or_default();
    let of_fargate = body["ServiceCode"] == "fargate";
    match QUOTAS.iter().find(|(known, _)| of_fargate && *known == code) {
        Some(quota) => Ok(json!({ "Quota": show(quota, value) })),
        None => {
            let message = "The request failed because the specified service quota does not exist.";
            Err(Refusal::new(400, "NoSuchResourceException", message))
        }
    }
}

pub(super) fn list(state: &State, body: &Value) -> Result<Value, Refusal> {
    let value = permitted(state, "ListServiceQuotas")?;
    let of_fargate = body["ServiceCode"] == "fargate";
    let quotas = QUOTAS.iter().filter(|_| of_fargate).map(|quota| show(quota, value));
    Ok(json!({ "Quotas": quotas.collect::<Vec<_>>() }))
}

fn permitted(state: &State, operation: &str) -> Result<f64, Refusal> {
    state.vcpus.ok_or_else(|| {
        let message = format!(
            "User: arn:aws:iam::111122223333:user/operator is not authorized to perform: servicequotas:{operation}"
        );
        Refusal::new(400, "AccessDeniedException", &message)
    })
}

fn show((code, name): &(&str, &str), value: f64) -> Value {
    json!({
        "ServiceCode": "fargate",
        "ServiceName": "AWS Fargate",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": true,
        "GlobalQuota": false,
    })
}
