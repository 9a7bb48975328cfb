//! What each piece of vecferry calls, in the order in which a migration comes to it. A statement without resources is
//! left out by the caller: the migration does not use them.

use vecferry_core::policy::Method;

use super::{Condition, Scope, Statement};

/// The tag that everything which `restore` makes carries.
const TAG_ASKED: &str = "aws:RequestTag/vecferry:migration";
const TAG_THERE: &str = "aws:ResourceTag/vecferry:migration";

/// Resources of services that know no smaller ones, or of lists that must be whole.
const ANY: &str = "*";

/// What `check` and `restore` both see of RDS.
const PARAMETERS: &str = "rds:DescribeDBClusterParameters";
const SNAPSHOTS: &str = "rds:DescribeDBClusterSnapshots";
const CLUSTERS: &str = "rds:DescribeDBClusters";
const INSTANCES: &str = "rds:DescribeDBInstances";

fn statement(
    sid: &'static str,
    actions: &[&'static str],
    resources: impl IntoIterator<Item = String>,
    why: &'static str,
) -> Statement {
    let (actions, resources) = (actions.to_vec(), resources.into_iter().collect());
    Statement { sid, actions, resources, conditions: vec![], why, optional: false }
}

impl Statement {
    fn only_if(self, operator: &'static str, key: &'static str, value: String) -> Statement {
        self.only_if_any(operator, key, vec![value])
    }

    fn only_if_any(
        mut self,
        operator: &'static str,
        key: &'static str,
        values: Vec<String>,
    ) -> Statement {
        self.conditions.push(Condition { operator, key, values });
        self
    }

    /// Only where the key has any value.
    fn tagged(self, key: &'static str) -> Statement {
        self.only_if("StringLike", key, ANY.to_owned())
    }
}

fn any() -> [String; 1] {
    [ANY.to_owned()]
}

/// `check`: reads, all of them; where one is denied, its checks are left out and said to be.
pub(super) fn check(method: Method, scope: &Scope) -> Vec<Statement> {
    let databases: &[&str] = match (method, scope.snapshot) {
        // `rds.logical_replication` is looked at for a follow alone.
        (Method::Follow, _) => &[PARAMETERS, SNAPSHOTS, CLUSTERS, INSTANCES],
        (_, false) => &[SNAPSHOTS, CLUSTERS, INSTANCES],
        // A restore has to see them anyway, and policies are short of room.
        (_, true) => &[],
    };
    let reads = vec![
        statement(
            "SimulateOwnPermissions",
            &["iam:GetRole", "iam:SimulatePrincipalPolicy"],
            scope.examined(),
            "check asks IAM what is allowed instead of trying it",
        ),
        statement(
            "SeeDatabases",
            databases,
            any(),
            "check reads engine, version, capacity and parameters of both clusters, and lists snapshots",
        ),
        statement(
            "SeeQuotas",
            &["servicequotas:GetServiceQuota", "servicequotas:ListServiceQuotas"],
            any(),
            "the number of tasks and the pace of embedding follow from the account's quotas",
        ),
    ];
    reads.into_iter().map(|read| Statement { optional: true, ..read }).collect()
}

/// Credentials of the clusters.
pub(super) fn read_secrets(scope: &Scope) -> Vec<Statement> {
    vec![statement(
        "ReadDatabaseSecrets",
        &["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
        scope.database_secrets(),
        "user and password of the databases are read from their secrets, again when they are rotated",
    )]
}

/// The list of bots.
pub(super) fn read_bots(scope: &Scope) -> Vec<Statement> {
    let table = scope.table();
    let index = table.iter().map(|table| format!("{table}/index/LastBotUsedIndex"));
    vec![
        statement(
            "SeeBotTable",
            &["dynamodb:DescribeTable"],
            table.clone(),
            "an index that holds bots only is read where the table has it, instead of all conversations",
        ),
        statement(
            "ListBots",
            &["dynamodb:Scan"],
            table.iter().cloned().chain(index),
            "bots and their documents are listed",
        ),
    ]
}

/// The state of a bot's embedding.
pub(super) fn record_bots(scope: &Scope) -> Vec<Statement> {
    vec![statement(
        "RecordBots",
        &["dynamodb:GetItem", "dynamodb:UpdateItem"],
        scope.table(),
        "the state of a bot's embedding is read and written, under a condition",
    )]
}

/// Sizes and times of documents, before anything is embedded.
pub(super) fn see_documents(scope: &Scope) -> Vec<Statement> {
    let bucket = scope.bucket();
    vec![
        statement(
            "ListDocuments",
            &["s3:ListBucket"],
            bucket.clone(),
            "prefixes are listed, and an object that is missing is told from one that is refused",
        ),
        statement(
            "ReadDocuments",
            &["s3:GetObject"],
            bucket.map(|bucket| format!("{bucket}/*")),
            "documents are looked at for size and time, and read by whoever embeds them",
        ),
    ]
}

/// Tasks on ECS.
pub(super) fn tasks(scope: &Scope) -> Vec<Statement> {
    let cluster = scope.cluster();
    let within = |statement: Statement| match &cluster {
        Some(arn) => statement.only_if("ArnEquals", "ecs:cluster", arn.clone()),
        None => statement,
    };
    vec![
        statement(
            "SeeTaskDefinition",
            &["ecs:DescribeTaskDefinition"],
            any(),
            "size, image and environment of a task are read; the service knows no narrower resource",
        ),
        statement(
            "SeeCluster",
            &["ecs:DescribeClusters"],
            cluster.clone(),
            "the cluster must be active before anything is started",
        ),
        within(statement(
            "StartTasks",
            &["ecs:RunTask"],
            scope.task_definitions(),
            "one task is started per bot",
        )),
        statement(
            "PassTaskRoles",
            &["iam:PassRole"],
            scope.task_roles(),
            "a task is started with the roles of its definition",
        )
        .only_if(
            "StringEquals",
            "iam:PassedToService",
            "ecs-tasks.amazonaws.com".to_owned(),
        ),
        statement(
            "FollowTasks",
            &["ecs:DescribeTasks", "ecs:StopTask"],
            scope.tasks(),
            "running tasks are looked at, and stopped when their bot was given to another one",
        ),
        within(statement(
            "ListTasks",
            &["ecs:ListTasks"],
            any(),
            "tasks of an interrupted run are found again; the service knows no narrower resource",
        )),
    ]
}

/// One bot's work.
pub(super) fn embed(scope: &Scope) -> Vec<Statement> {
    let mut all = record_bots(scope);
    all.extend(see_documents(scope));
    all.push(statement(
        "EmbedTexts",
        &["bedrock:InvokeModel"],
        scope.models(),
        "texts are embedded",
    ));
    all
}

/// A worker's task role.
pub(super) fn worker(scope: &Scope) -> Vec<Statement> {
    let mut all = vec![
        statement(
            "AssumeTableRole",
            &["sts:AssumeRole"],
            scope.table_role(),
            "the bot's item is reached through the application's role for one user",
        ),
        statement(
            "ReadDatabaseSecrets",
            &["secretsmanager:GetSecretValue"],
            scope.database_secrets(),
            "user and password of the target are read from its secret",
        ),
    ];
    // Whoever has the application's role needs no way of their own.
    let direct = scope.table_role().is_none();
    all.extend(embed(scope).into_iter().filter(|one| direct || one.sid != "RecordBots"));
    all
}

/// `init --stack`.
pub(super) fn init(scope: &Scope) -> Vec<Statement> {
    vec![
        statement(
            "ReadStack",
            &["cloudformation:DescribeStacks", "cloudformation:ListStackResources"],
            scope.stacks(),
            "the settings are filled from the outputs of the stack and of those nested in it",
        ),
        statement(
            "SeeTaskDefinition",
            &["ecs:DescribeTaskDefinition"],
            any(),
            "bucket and secret stand in the task's environment; the service knows no narrower resource",
        ),
    ]
}

/// What `restore` makes in RDS: a cluster, its instance, and a snapshot of a source that is still there.
const OWN: [&str; 3] = ["cluster:vecferry-*", "db:vecferry-*", "cluster-snapshot:vecferry-*"];

/// `restore`, and `cleanup` of what it made. It makes only what is called `vecferry-…` and carries the migration's tag,
/// and changes or deletes nothing else, but for the target's own cluster.
///
/// A tag is a limit only where its holder cannot set it. Whoever makes something must be allowed to tag it: RDS asks for
/// `rds:AddTagsToResource` when something is created with tags, and knows no condition by which that is told from tagging
/// what is there (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/security_iam_id-based-policy-examples-grant-permissions-tags-on-create.html>).
/// So what is there is always named besides: by `vecferry-…`, or as this one cluster.
pub(super) fn restore(scope: &Scope) -> Vec<Statement> {
    [make_cluster(scope), note_on_target(scope), keep_secret(scope), remove_cluster(scope)].concat()
}

fn make_cluster(scope: &Scope) -> Vec<Statement> {
    let source = scope.source_cluster();
    let taken = source.map(|source| [vec![source], scope.rds(&OWN[2..])].concat());
    let within = scope.rds(&["subgrp:*", "cluster-pg:*", "og:*"]);
    vec![
        statement(
            "FindSnapshots",
            &[
                SNAPSHOTS,
                CLUSTERS,
                INSTANCES,
                "rds:DescribeDBSubnetGroups",
                "secretsmanager:ListSecrets",
            ],
            any(),
            "snapshots are found by engine, cluster and time, and what belongs to a migration by its tags; lists know no \
             narrower resource",
        ),
        statement(
            "TakeSnapshot",
            &["rds:CreateDBClusterSnapshot"],
            taken.unwrap_or_default(),
            "a source that is still there is snapshotted first, where --take-snapshot is asked for",
        )
        .tagged(TAG_ASKED),
        statement(
            "RestoreSnapshot",
            &["rds:RestoreDBClusterFromSnapshot"],
            [scope.rds(&OWN[..1]), scope.snapshots(), within].concat(),
            "a temporary cluster is restored in the target's subnet group; `source = \"snapshot:ID\"` narrows it to one",
        )
        .tagged(TAG_ASKED),
        statement(
            "StartInstance",
            &["rds:CreateDBInstance"],
            scope.rds(&[OWN[1], OWN[0], "subgrp:*", "pg:*", "og:*"]),
            "a restored cluster has no instance, and nobody can connect to it without one",
        )
        .tagged(TAG_ASKED),
        statement(
            "TagOwn",
            &["rds:AddTagsToResource"],
            scope.rds(&OWN),
            "whatever is made is tagged with the migration, which is how cleanup finds it",
        )
        .tagged(TAG_ASKED),
    ]
}

/// What `restore` notes on the target's own cluster, and changes there when it is asked to.
fn note_on_target(scope: &Scope) -> Vec<Statement> {
    let raised = scope.raise_target;
    let keys = raised.then(|| "vecferry:capacity".to_owned()).into_iter();
    let keys = keys.chain(["vecferry:restore/*".to_owned()]).collect();
    let raise = statement(
        "RaiseTargetCapacity",
        &["rds:ModifyDBCluster"],
        // The service has no condition for what is modified: this is the one cluster that is filled anyway.
        [scope.target_cluster()],
        "raise_target_capacity changes the target's cluster, and cleanup sets it back",
    );
    let note = statement(
        "NoteOnTarget",
        &["rds:AddTagsToResource", "rds:RemoveTagsFromResource"],
        [scope.target_cluster()],
        "the migration's id, and the target's capacity before it is raised, are kept as tags of the target's cluster",
    )
    .only_if_any("ForAllValues:StringLike", "aws:TagKeys", keys);
    [note].into_iter().chain(raised.then_some(raise)).collect()
}

/// The secret of the temporary cluster. To look at one that is not there takes a statement of its own: what is not
/// there has no tag, and the answer would be a denial.
fn keep_secret(scope: &Scope) -> Vec<Statement> {
    let own = || [scope.arn("secretsmanager", "secret:vecferry/*")];
    vec![
        statement(
            "MakeOwnSecret",
            &["secretsmanager:CreateSecret", "secretsmanager:TagResource"],
            own(),
            "the temporary cluster's password is kept in a secret of its own, tagged when it is made",
        )
        .tagged(TAG_ASKED),
        statement(
            "SeeOwnSecret",
            &["secretsmanager:DescribeSecret"],
            own(),
            "whether that secret was made already",
        ),
        statement(
            "KeepOwnSecret",
            &["secretsmanager:DeleteSecret", "secretsmanager:GetSecretValue"],
            own(),
            "the temporary cluster's password is read, and deleted at the end",
        )
        .tagged(TAG_THERE),
        statement(
            "EncryptOwnCluster",
            &["kms:CreateGrant", "kms:DescribeKey"],
            scope.encryption_key(),
            "the restored cluster is encrypted with the key that was asked for",
        )
        .only_if("StringEquals", "kms:ViaService", scope.domain("rds")),
    ]
}

fn remove_cluster(scope: &Scope) -> Vec<Statement> {
    vec![
        statement(
            "ManageOwnCluster",
            &["rds:DeleteDBCluster", "rds:ModifyDBCluster"],
            scope.rds(&OWN[..1]),
            "the temporary cluster gets a password and capacity of its own, and is deleted at the end",
        )
        .tagged(TAG_THERE),
        statement(
            "RemoveOwnInstance",
            &["rds:DeleteDBInstance"],
            scope.rds(&OWN[1..2]),
            "cleanup deletes the temporary cluster's instance",
        )
        .tagged(TAG_THERE),
        statement(
            "RemoveOwnSnapshot",
            &["rds:DeleteDBClusterSnapshot"],
            scope.rds(&OWN[2..]),
            "cleanup deletes the snapshot that restore took",
        )
        .tagged(TAG_THERE),
    ]
}

/// The application's secret as the switch of a cutover.
pub(super) fn switch(scope: &Scope) -> Vec<Statement> {
    vec![statement(
        "SwitchSecret",
        &[
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
        ],
        scope.switch_secret(),
        "a cutover points the application's secret at the target, and a rollback back at the source",
    )]
}
