//! The resources of a migration, as far as they are known, and their ARNs. What is not known stands in a policy as a
//! word in capitals, which the operator replaces.

/// A resource that permissions are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Named {
    /// This migration does not use it: no permission is needed.
    Unused,
    /// It is used, and its name is not known.
    #[default]
    Unknown,
    /// Name, id or ARN.
    Is(String),
}

impl Named {
    /// The name when there is one, else unknown.
    pub fn or_unknown(name: Option<String>) -> Named {
        name.map_or(Named::Unknown, Named::Is)
    }

    /// The name when there is one, else unused.
    pub fn or_unused(name: Option<String>) -> Named {
        name.map_or(Named::Unused, Named::Is)
    }

    /// The name.
    pub fn known(&self) -> Option<&str> {
        match self {
            Named::Is(name) => Some(name),
            _ => None,
        }
    }
}

/// What a migration touches in AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Region of everything but the model.
    pub region: Option<String>,
    /// The account's number.
    pub account: Option<String>,
    /// ARN of the role or user that runs the commands.
    pub caller: Option<String>,
    /// The application's CloudFormation stack.
    pub stack: Option<String>,
    /// DynamoDB table that lists bots; unused where a file does.
    pub table: Named,
    /// Role through which the application's tasks reach the table; unused where tasks reach it by their own.
    pub table_role: Named,
    /// Bucket of documents.
    pub bucket: Named,
    /// ECS cluster of the tasks; unused where workers run in the operator's process.
    pub cluster: Named,
    /// Task definition, `family:revision`, family or ARN.
    pub task_definition: Named,
    /// ARNs of the task role and the execution role of the task definition; unknown when empty.
    pub task_roles: Vec<String>,
    /// Bedrock's model id or inference profile; unused where another service runs the model.
    pub model: Named,
    /// Region of the model, where it is another one.
    pub model_region: Option<String>,
    /// Secret with the source's credentials.
    pub source_secret: Named,
    /// Secret with the target's credentials.
    pub target_secret: Named,
    /// The application's secret that a cutover rewrites.
    pub switch_secret: Named,
    /// Whether the source is a snapshot, so that a cluster is to be restored.
    pub snapshot: bool,
    /// That snapshot; any of the account's where it is not known.
    pub snapshot_id: Named,
    /// The target's cluster in RDS, on which a restore leaves a note.
    pub target_cluster: Named,
    /// Whether the capacity of that cluster is raised.
    pub raise_target: bool,
    /// The source's cluster in RDS, where it is there to be snapshotted; unused where it is gone.
    pub source_cluster: Named,
    /// KMS key that the restored cluster is encrypted with; unused where none is asked for.
    pub encryption_key: Named,
}

/// Something that a policy names and that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The word that stands for it.
    pub word: &'static str,
    /// What it is and where it is set.
    pub what: &'static str,
}

/// Words for what is not known. None is a part of another, nor of any name that AWS gives.
const UNKNOWN: [Unknown; 15] = [
    Unknown { word: "REGION", what: "the region: --region, or `region` of [aws]" },
    Unknown { word: "ACCOUNT", what: "the number of the AWS account" },
    Unknown { word: "OPERATOR", what: "the role that runs vecferry" },
    Unknown { word: "STACK", what: "the application's CloudFormation stack" },
    Unknown { word: "TABLE", what: "the table of bots: --bot-table, or `table` of [bots]" },
    Unknown {
        word: "BUCKET",
        what: "the bucket of documents: --bucket, or `bucket` of [documents]",
    },
    Unknown { word: "CLUSTER", what: "the ECS cluster: --cluster, or `cluster` of [tasks]" },
    Unknown {
        word: "DEFINITION",
        what: "the task definition: --task-definition, or `task_definition` of [tasks]",
    },
    Unknown {
        word: "TASKROLES",
        what: "the task role and the execution role of the task definition",
    },
    Unknown { word: "ACCESSROLE", what: "the stack's output TableAccessRoleArn" },
    Unknown { word: "MODEL", what: "the model: --model, or `model` of [embedding]" },
    Unknown { word: "SECRET", what: "the secret with the database's credentials" },
    Unknown {
        word: "TARGETDB",
        what: "the target's cluster in RDS: --target-cluster, or `target_cluster` of [restore]",
    },
    Unknown {
        word: "SOURCEDB",
        what: "the cluster that is snapshotted first, `source_cluster` of [restore]; leave its statement out where it is \
               gone",
    },
    Unknown { word: "KEY", what: "the KMS key that the restored cluster is encrypted with" },
];

impl Unknown {
    /// What of these statements is not known: words of [`UNKNOWN`] in their resources.
    pub fn of(statements: &[super::Statement]) -> Vec<Unknown> {
        let stands = |word: &str, resource: &str| {
            resource
                .split([':', '/', '.', '*'])
                .any(|part| part.trim_end_matches("-??????") == word)
        };
        let named = |unknown: &&Unknown| {
            let mut resources = statements.iter().flat_map(|statement| &statement.resources);
            resources.any(|resource| stands(unknown.word, resource))
        };
        UNKNOWN.iter().filter(named).cloned().collect()
    }
}

impl Scope {
    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("REGION")
    }

    fn account(&self) -> &str {
        self.account.as_deref().unwrap_or("ACCOUNT")
    }

    /// `aws`, or that of China or the US government, which the region tells.
    fn partition(&self) -> &'static str {
        match self.region() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// Domain of services in conditions.
    pub(super) fn domain(&self, service: &str) -> String {
        let end = if self.partition() == "aws-cn" { ".cn" } else { "" };
        format!("{service}.{}.amazonaws.com{end}", self.region())
    }

    /// An ARN in this account and region.
    pub(super) fn arn(&self, service: &str, rest: &str) -> String {
        let (partition, region, account) = (self.partition(), self.region(), self.account());
        format!("arn:{partition}:{service}:{region}:{account}:{rest}")
    }

    /// ARNs of RDS resources, each `kind:name`.
    pub(super) fn rds(&self, resources: &[&str]) -> Vec<String> {
        resources.iter().map(|rest| self.arn("rds", rest)).collect()
    }

    /// The target's cluster. Whoever restores has one.
    pub(super) fn target_cluster(&self) -> String {
        let make = |id: &str| self.arn("rds", &format!("cluster:{id}"));
        let word = "TARGETDB";
        self.made(&self.target_cluster, word, make).unwrap_or_else(|| make(word))
    }

    /// The cluster of which a snapshot is taken.
    pub(super) fn source_cluster(&self) -> Option<String> {
        let make = |id: &str| self.arn("rds", &format!("cluster:{id}"));
        self.made(&self.source_cluster, "SOURCEDB", make)
    }

    /// What may be restored.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let make = |id: &str| self.arn("rds", &format!("cluster-snapshot:{id}"));
        self.made(&self.snapshot_id, "*", make).into_iter().collect()
    }

    /// The ARN as it is given, or made of a name with `rest`; none for what is unused.
    fn made(&self, named: &Named, word: &str, make: impl Fn(&str) -> String) -> Option<String> {
        match named {
            Named::Unused => None,
            Named::Unknown => Some(make(word)),
            Named::Is(arn) if arn.starts_with("arn:") => Some(arn.clone()),
            Named::Is(name) => Some(make(name)),
        }
    }

    pub(super) fn table(&self) -> Option<String> {
        self.made(&self.table, "TABLE", |name| self.arn("dynamodb", &format!("table/{name}")))
    }

    pub(super) fn table_role(&self) -> Option<String> {
        self.made(&self.table_role, "ACCESSROLE", |name| self.role(name))
    }

    pub(super) fn bucket(&self) -> Option<String> {
        let partition = self.partition();
        self.made(&self.bucket, "BUCKET", |name| format!("arn:{partition}:s3:::{name}"))
    }

    pub(super) fn cluster(&self) -> Option<String> {
        self.made(&self.cluster, "CLUSTER", |name| self.arn("ecs", &format!("cluster/{name}")))
    }

    /// Tasks of the cluster.
    pub(super) fn tasks(&self) -> Option<String> {
        let cluster = self.cluster()?;
        Some(format!("{}/*", cluster.replacen(":cluster/", ":task/", 1)))
    }

    /// Every revision of the task definition: a deployment makes a new one.
    pub(super) fn task_definitions(&self) -> Option<String> {
        let arn = self.made(&self.task_definition, "DEFINITION", |name| {
            self.arn("ecs", &format!("task-definition/{name}"))
        })?;
        let family = match arn.rsplit_once(':') {
            Some((family, revision)) if revision.parse::<u32>().is_ok() => family,
            _ => &arn,
        };
        Some(format!("{family}:*"))
    }

    pub(super) fn task_roles(&self) -> Vec<String> {
        match self.task_roles.is_empty() {
            true => vec![self.role("TASKROLES")],
            false => self.task_roles.clone(),
        }
    }

    /// The caller, and the task roles, whose permissions are simulated for the worker.
    pub(super) fn examined(&self) -> Vec<String> {
        let caller = self.caller.clone().unwrap_or_else(|| self.role("OPERATOR"));
        let roles = match self.cluster {
            Named::Unused => vec![],
            _ => self.task_roles(),
        };
        [vec![caller], roles].concat()
    }

    fn role(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:role/{name}", self.partition(), self.account())
    }

    /// The stack and those nested in it, whose names begin with its own.
    pub(super) fn stacks(&self) -> Vec<String> {
        let name = self.stack.as_deref().unwrap_or("STACK");
        if name.starts_with("arn:") {
            return vec![name.to_owned()];
        }
        ["/*", "-*/*"].map(|end| self.arn("cloudformation", &format!("stack/{name}{end}"))).to_vec()
    }

    /// The model in its region; behind an inference profile also the profile, and the model wherever the profile sends
    /// a call (<https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html>).
    pub(super) fn models(&self) -> Vec<String> {
        let partition = self.partition();
        let region = self.model_region.as_deref().unwrap_or(self.region());
        let model = |region: &str, id: &str| {
            format!("arn:{partition}:bedrock:{region}::foundation-model/{id}")
        };
        let id = match &self.model {
            Named::Unused => return vec![],
            Named::Unknown => return vec![model(region, "MODEL")],
            Named::Is(id) => id,
        };
        let short = id.rsplit('/').next().unwrap_or(id);
        match crate::Bedrock::base(short) {
            Some(base) if base != short => {
                let profile = match id.starts_with("arn:") {
                    true => id.clone(),
                    false => {
                        let account = self.account();
                        format!("arn:{partition}:bedrock:{region}:{account}:inference-profile/{id}")
                    }
                };
                vec![profile, model("*", base)]
            }
            _ if id.starts_with("arn:") => vec![id.clone()],
            _ => vec![model(region, id)],
        }
    }

    /// A secret; six random characters end the ARN of one that is named.
    fn secret(&self, secret: &Named) -> Option<String> {
        self.made(secret, "SECRET", |name| {
            self.arn("secretsmanager", &format!("secret:{name}-??????"))
        })
    }

    pub(super) fn database_secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> = [&self.source_secret, &self.target_secret]
            .into_iter()
            .filter_map(|secret| self.secret(secret))
            .collect();
        secrets.dedup();
        secrets
    }

    pub(super) fn switch_secret(&self) -> Vec<String> {
        self.secret(&self.switch_secret).into_iter().collect()
    }

    pub(super) fn encryption_key(&self) -> Vec<String> {
        let key =
            self.made(&self.encryption_key, "KEY", |id| self.arn("kms", &format!("key/{id}")));
        key.into_iter().collect()
    }
}
