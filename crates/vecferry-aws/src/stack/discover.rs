//! From outputs to settings. Pure.
//!
//! An output of a construct is called after its path (`Embedding` + `ClusterName`) and a hash that differs between
//! deployments; one of the stack itself has no hash. The names are those of `cdk/lib` in
//! <https://github.com/aws-samples/bedrock-chat>, tags v0.4.0 to v1.4.0: v0.4.0 to v0.4.4 have two outputs, v0.4.5 to
//! v0.4.10 seventeen, and all of v1 those besides that begin with `Embedding` and `DatabaseConversationTableName`.

use std::collections::BTreeMap;
use std::fmt;

/// An output of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name of the stack.
    pub stack: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Something that a migration needs to know of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// DynamoDB table of bots.
    BotTable,
    /// Role through which tasks reach the table.
    TableRole,
    /// Bucket of documents.
    Bucket,
    /// ECS cluster.
    Cluster,
    /// Task definition, `family:revision`.
    TaskDefinition,
    /// Security group of the tasks.
    SecurityGroup,
    /// Private subnet.
    Subnet0,
    /// Another private subnet.
    Subnet1,
    /// Secret of the deployed database cluster.
    DatabaseSecret,
    /// Its host name.
    DatabaseHost,
    /// Its port.
    DatabasePort,
    /// Region of Bedrock.
    ModelRegion,
}

/// Where an item is told.
struct Place {
    item: Item,
    /// What outputs begin with.
    outputs: &'static [&'static str],
    /// Variable of the task's container.
    variable: Option<&'static str>,
    what: &'static str,
}

const fn place(
    item: Item,
    outputs: &'static [&'static str],
    variable: Option<&'static str>,
    what: &'static str,
) -> Place {
    Place { item, outputs, variable, what }
}

const PLACES: [Place; 12] = [
    place(
        Item::BotTable,
        &["ConversationTableName", "DatabaseConversationTableName"],
        Some("TABLE_NAME"),
        "the table of bots",
    ),
    place(
        Item::TableRole,
        &["TableAccessRoleArn"],
        Some("TABLE_ACCESS_ROLE_ARN"),
        "the role that reaches the table",
    ),
    place(
        Item::Bucket,
        &["DocumentBucketName"],
        Some("DOCUMENT_BUCKET"),
        "the bucket of documents",
    ),
    place(Item::Cluster, &["EmbeddingClusterName"], None, "the ECS cluster"),
    place(Item::TaskDefinition, &["EmbeddingTaskDefinitionName"], None, "the task definition"),
    place(
        Item::SecurityGroup,
        &["EmbeddingTaskSecurityGroupId"],
        None,
        "the tasks' security group",
    ),
    place(Item::Subnet0, &["PrivateSubnetId0"], None, "a private subnet"),
    place(Item::Subnet1, &["PrivateSubnetId1"], None, "another private subnet"),
    place(
        Item::DatabaseSecret,
        &["DbConfigSecretArn"],
        Some("DB_SECRETS_ARN"),
        "the database's secret",
    ),
    place(Item::DatabaseHost, &["DbConfigHostname"], Some("DB_HOST"), "the database's host"),
    place(Item::DatabasePort, &["DbConfigPort"], Some("DB_PORT"), "the database's port"),
    place(Item::ModelRegion, &[], Some("BEDROCK_REGION"), "the region of Bedrock"),
];

/// Outputs of the application that say nothing to a migration, and those that CDK makes for references between stacks.
const OTHERS: [&str; 19] = [
    "ApprovedRedirectURI",
    "AuthApprovedRedirectURI",
    "AuthUserPoolClientId",
    "AuthUserPoolId",
    "AvailabilityZone",
    "BackendApiBackendApiUrl",
    "DbSecurityGroupId",
    "ExportsOutput",
    "FrontendCognitoDomain",
    "FrontendSocialProviders",
    "FrontendURL",
    "LargeMessageBucketName",
    "PublicSubnetId",
    "PublishedApiWebAclArn",
    "UsageAnalysisUsageAnalysisOutputLocation",
    "UsageAnalysisUsageAnalysisWorkgroup",
    "VpcId",
    "WebAclForPublishedApiWebAclArn",
    "WebSocketWebSocketEndpoint",
];

impl Item {
    fn place(self) -> &'static Place {
        // Twelve entries; every item has one, which a test holds.
        PLACES.iter().find(|place| place.item == self).unwrap_or(&PLACES[0])
    }

    /// Variables of a container that are looked at; others may be secrets and are not even read.
    pub(super) fn variables() -> impl Iterator<Item = &'static str> {
        PLACES.iter().filter_map(|place| place.variable)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place().what)
    }
}

/// Which of the application's releases a stack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// v0: the cluster is the one that v1 replaces, and no output tells of its tasks.
    V0,
    /// v1: the new cluster, to be filled.
    V1,
    /// v2 or newer: it has no database of its own any more.
    V2,
    /// Not this application's, or not its main stack.
    Other,
}

/// A value and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub item: Item,
    /// Its value.
    pub value: String,
    /// The output or the variable.
    pub from: String,
}

/// A value that no resource can have; it is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What it should be.
    pub item: Item,
    /// The output or the variable.
    pub from: String,
    /// What is wrong with it.
    pub why: Blemish,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blemish {
    /// There is nothing but white space.
    Blank,
    /// It has line feeds or other control characters.
    Control,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Blemish::Blank => write!(f, "{} is empty", self.from),
            Blemish::Control => write!(f, "{} holds control characters", self.from),
        }
    }
}

/// What was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub item: Item,
    /// What should have told it.
    pub unusable: Vec<Unusable>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { outputs, variable, what, .. } = self.item.place();
        write!(f, "{what}: ")?;
        if !self.unusable.is_empty() {
            let all: Vec<String> = self.unusable.iter().map(Unusable::to_string).collect();
            return f.write_str(&all.join(", "));
        }
        match outputs {
            [] => {}
            names => write!(f, "no output begins with {}", names.join(" or "))?,
        }
        match (outputs.is_empty(), variable) {
            (true, Some(name)) => write!(f, "the task's container has no variable {name}"),
            (false, Some(name)) => write!(f, ", and the task's container has no variable {name}"),
            (_, None) => Ok(()),
        }
    }
}

/// What was found more than once, with different values; none was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubled {
    /// What it is.
    pub item: Item,
    /// Every value.
    pub found: Vec<Found>,
}

impl fmt::Display for Doubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> =
            self.found.iter().map(|found| format!("{} ({})", found.value, found.from)).collect();
        write!(f, "{} is told {} ways: {}", self.item, values.len(), values.join(", "))
    }
}

/// What a deployment tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Which releases it is of.
    pub generation: Generation,
    /// What is known, in the order of [`Item`].
    pub found: Vec<Found>,
    /// What is not.
    pub missing: Vec<Missing>,
    /// What is told differently by different outputs.
    pub doubled: Vec<Doubled>,
    /// Outputs that no release is known to have.
    pub unknown: Vec<Output>,
    /// Values that were passed over, of items that are told elsewhere.
    pub unusable: Vec<Unusable>,
}

impl Discovery {
    /// The value of an item.
    pub fn value(&self, item: Item) -> Option<&Found> {
        self.found.iter().find(|found| found.item == item)
    }
}

/// Reads outputs, and the environment of the task's container where it is known already.
pub fn discover(outputs: &[Output], environment: &BTreeMap<String, String>) -> Discovery {
    let mut told = Told::default();
    let mut unknown = Vec::new();
    for output in outputs {
        match meaning(&output.key) {
            Meaning::Item(item) => {
                let from = format!("output {} of stack {}", output.key, output.stack);
                told.take(item, &output.value, from);
            }
            Meaning::Nothing => {}
            Meaning::Unknown => unknown.push(output.clone()),
        }
    }
    for Place { item, variable, .. } in &PLACES {
        // An empty variable is one that is not set.
        let value = variable.and_then(|name| environment.get(name));
        let value = value.filter(|text| !text.trim().is_empty());
        if let (Some(value), Some(name)) = (value, variable) {
            told.take(*item, value, format!("{name} of the task's container"));
        }
    }
    let generation = generation(outputs);
    let (mut found, mut missing, mut doubled, mut passed_over) = (vec![], vec![], vec![], vec![]);
    for Place { item, .. } in &PLACES {
        let mut values = told.found.remove(item).unwrap_or_default();
        let mut unusable = told.unusable.remove(item).unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        values.retain(|found| seen.insert(found.value.clone()));
        match values.len() {
            0 => {
                missing.push(Missing { item: *item, unusable });
                continue;
            }
            1 => found.append(&mut values),
            _ => doubled.push(Doubled { item: *item, found: values }),
        }
        passed_over.append(&mut unusable);
    }
    Discovery { generation, found, missing, doubled, unknown, unusable: passed_over }
}

/// What is told, by item.
#[derive(Default)]
struct Told {
    found: BTreeMap<Item, Vec<Found>>,
    unusable: BTreeMap<Item, Vec<Unusable>>,
}

impl Told {
    /// Takes a value without the white space around it, or notes why not.
    fn take(&mut self, item: Item, value: &str, from: String) {
        let value = value.trim();
        let why = match value.is_empty() {
            true => Some(Blemish::Blank),
            false => value.contains(char::is_control).then_some(Blemish::Control),
        };
        match why {
            Some(why) => {
                self.unusable.entry(item).or_default().push(Unusable { item, from, why });
            }
            None => {
                let value = value.to_owned();
                self.found.entry(item).or_default().push(Found { item, value, from });
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Item(Item),
    Nothing,
    Unknown,
}

/// What an output's key means: the longest name that it begins with, and after it nothing but a hash.
fn meaning(key: &str) -> Meaning {
    let items = PLACES
        .iter()
        .flat_map(|place| place.outputs.iter().map(|name| (*name, Meaning::Item(place.item))));
    let others = OTHERS.iter().map(|name| (*name, Meaning::Nothing));
    let fits = |name: &str| {
        key.strip_prefix(name).is_some_and(|hash| hash.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    items
        .chain(others)
        .filter(|(name, _)| fits(name))
        .max_by_key(|(name, _)| name.len())
        .map_or(Meaning::Unknown, |(_, meaning)| meaning)
}

fn generation(outputs: &[Output]) -> Generation {
    let has = |name: &str| outputs.iter().any(|output| output.key.starts_with(name));
    if has("Embedding") && has("DbConfig") {
        Generation::V1
    } else if has("DbConfig")
        || (has("DocumentBucketName") && has("FrontendURL") && !has("DatabaseConversation"))
    {
        Generation::V0
    } else if has("DatabaseConversation") || has("ConversationTableName") {
        Generation::V2
    } else {
        Generation::Other
    }
}

#[cfg(test)]
mod tests;
