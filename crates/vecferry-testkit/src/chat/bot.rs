//! Items of Bedrock Chat's table in DynamoDB's JSON, as each version writes them (`store_bot` and `store_alias` of its
//! `repositories/custom_bot.py` and `store_conversation` of `conversation.py`, at the tags named).

use serde_json::{Value, json};

/// The versions at which a bot's item changed its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 0.3: bots know nothing yet: neither `Knowledge` nor a state of its embedding.
    V0_3,
    /// 0.4.0: `Knowledge` of web pages, sitemaps and files; `SyncStatus` and its companions.
    V0_4_0,
    /// 0.4.6: `EmbeddingParams` of two numbers, and the attributes of a published API (NULL at first).
    V0_4_6,
    /// 0.4.10: `enable_partition_pdf`, generation and search parameters.
    V0_4_10,
    /// 1.0: agents.
    V1_0,
    /// 1.2.1: quick starters.
    V1_2_1,
    /// 1.2.5: `s3_urls`, and knowledge bases of Bedrock.
    V1_2_5,
    /// 1.4: guardrails.
    V1_4,
}

impl Release {
    /// Every one, oldest first.
    pub const ALL: [Release; 8] = [
        Release::V0_3,
        Release::V0_4_0,
        Release::V0_4_6,
        Release::V0_4_10,
        Release::V1_0,
        Release::V1_2_1,
        Release::V1_2_5,
        Release::V1_4,
    ];
}

/// A bot of a test. [`ChatBot::item`] is its item; the fields are the test's to set.
#[derive(Debug, Clone)]
pub struct ChatBot {
    /// User id.
    pub owner: String,
    /// Bot id; Bedrock Chat's have 26 characters.
    pub id: String,
    /// `Knowledge.source_urls`: web pages and videos.
    pub pages: Vec<String>,
    /// `Knowledge.sitemap_urls`.
    pub sitemaps: Vec<String>,
    /// `Knowledge.filenames`: uploaded files.
    pub files: Vec<String>,
    /// `Knowledge.s3_urls`; written from 1.2.5 on.
    pub s3: Vec<String>,
    /// Chunk size and overlap; written from 0.4.6 on.
    pub splitting: (u32, u32),
    /// `SyncStatus`; written from 0.4.0 on.
    pub status: String,
    /// `LastExecId`.
    pub exec_id: String,
    /// Whether Bedrock serves it, and by which knowledge base if that is made already; written from 1.2.5 on.
    pub knowledge_base: Option<Option<String>>,
    /// When it was last used, in milliseconds since 1970; every version writes it, at creation too.
    pub last_used: u64,
}

impl ChatBot {
    /// A bot without documents, last embedded by the task `exec`.
    pub fn new(owner: &str, id: &str) -> ChatBot {
        ChatBot {
            owner: owner.to_owned(),
            id: id.to_owned(),
            pages: Vec::new(),
            sitemaps: Vec::new(),
            files: Vec::new(),
            s3: Vec::new(),
            splitting: (1000, 200),
            status: "SUCCEEDED".to_owned(),
            exec_id: "exec".to_owned(),
            knowledge_base: None,
            last_used: 1_716_940_800_000,
        }
    }

    /// The same with these uploaded files.
    #[must_use]
    pub fn files(mut self, names: &[&str]) -> ChatBot {
        self.files = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The same with these web pages or videos.
    #[must_use]
    pub fn pages(mut self, urls: &[&str]) -> ChatBot {
        self.pages = urls.iter().map(|url| (*url).to_owned()).collect();
        self
    }

    /// The item that this version writes.
    pub fn item(&self, release: Release) -> Value {
        let mut item = json!({
            "PK": {"S": self.owner},
            "SK": {"S": format!("{}#BOT#{}", self.owner, self.id)},
            "Title": {"S": format!("Title of {}", self.id)},
            "Description": {"S": "What it is for"},
            "Instruction": {"S": "What the model is told"},
            "CreateTime": {"N": "1716940800000"},
            "LastBotUsed": {"N": self.last_used.to_string()},
            "IsPinned": {"BOOL": false},
        });
        let mut from = |since: Release, name: &str, value: Value| {
            if release >= since {
                item[name] = value;
            }
        };
        from(Release::V0_4_0, "Knowledge", self.knowledge(release));
        from(Release::V0_4_0, "SyncStatus", json!({"S": self.status}));
        from(Release::V0_4_0, "SyncStatusReason", json!({"S": ""}));
        from(Release::V0_4_0, "LastExecId", json!({"S": self.exec_id}));
        from(Release::V0_4_6, "EmbeddingParams", self.embedding(release));
        from(Release::V0_4_6, "ApiPublishmentStackName", json!({"NULL": true}));
        from(Release::V0_4_6, "ApiPublishedDatetime", json!({"NULL": true}));
        from(Release::V0_4_6, "ApiPublishCodeBuildId", json!({"NULL": true}));
        from(Release::V0_4_10, "GenerationParams", generation());
        from(Release::V0_4_10, "SearchParams", json!({"M": {"max_results": {"N": "20"}}}));
        from(Release::V0_4_10, "DisplayRetrievedChunks", json!({"BOOL": true}));
        from(Release::V1_0, "AgentData", json!({"M": {"tools": {"L": []}}}));
        from(Release::V1_2_1, "ConversationQuickStarters", json!({"L": []}));
        if let Some(knowledge_base) = &self.knowledge_base {
            from(Release::V1_2_5, "BedrockKnowledgeBase", knowledge_base_item(knowledge_base));
        }
        from(Release::V1_4, "GuardrailsParams", guardrails());
        item
    }

    fn knowledge(&self, release: Release) -> Value {
        let mut knowledge = json!({
            "source_urls": texts(&self.pages),
            "sitemap_urls": texts(&self.sitemaps),
            "filenames": texts(&self.files),
        });
        if release >= Release::V1_2_5 {
            knowledge["s3_urls"] = texts(&self.s3);
        }
        json!({"M": knowledge})
    }

    fn embedding(&self, release: Release) -> Value {
        let mut parameters = json!({
            "chunk_size": {"N": self.splitting.0.to_string()},
            "chunk_overlap": {"N": self.splitting.1.to_string()},
        });
        if release >= Release::V0_4_10 {
            parameters["enable_partition_pdf"] = json!({"BOOL": false});
        }
        json!({"M": parameters})
    }
}

/// Another user's use of a public bot.
pub fn alias(owner: &str, id: &str) -> Value {
    json!({
        "PK": {"S": owner},
        "SK": {"S": format!("{owner}#BOT_ALIAS#{id}")},
        "Title": {"S": "Somebody else's"},
        "Description": {"S": ""},
        "OriginalBotId": {"S": id},
        "CreateTime": {"N": "1716940800000"},
        "LastBotUsed": {"N": "1716940800000"},
        "IsPinned": {"BOOL": false},
        "SyncStatus": {"S": "ORIGINAL_NOT_FOUND"},
        "HasKnowledge": {"BOOL": true},
    })
}

/// A conversation, whose messages take about so many bytes.
pub fn conversation(owner: &str, id: &str, bytes: usize) -> Value {
    json!({
        "PK": {"S": owner},
        "SK": {"S": format!("{owner}#CONV#{id}")},
        "Title": {"S": "A talk"},
        "CreateTime": {"N": "1716940800000"},
        "TotalPrice": {"N": "0.0123"},
        "LastMessageId": {"S": "m"},
        "BotId": {"S": "01HZBOT"},
        "IsLargeMessage": {"BOOL": false},
        "ShouldContinue": {"BOOL": false},
        "MessageMap": {"S": "#BOT#".repeat(bytes / 5)},
    })
}

/// What a task leaves that wrote its state after the bot was deleted: its update has no condition, so it makes an item.
pub fn ghost(owner: &str, id: &str) -> Value {
    json!({
        "PK": {"S": owner},
        "SK": {"S": format!("{owner}#BOT#{id}")},
        "SyncStatus": {"S": "SUCCEEDED"},
        "SyncStatusReason": {"S": "Successfully inserted to vector store."},
        "LastExecId": {"S": "late"},
    })
}

fn texts(texts: &[String]) -> Value {
    json!({"L": texts.iter().map(|text| json!({"S": text})).collect::<Vec<Value>>()})
}

fn generation() -> Value {
    json!({"M": {
        "max_tokens": {"N": "2000"}, "top_k": {"N": "250"}, "top_p": {"N": "0.999"},
        "temperature": {"N": "0.6"}, "stop_sequences": texts(&["Human: ".to_owned()]),
    }})
}

fn knowledge_base_item(id: &Option<String>) -> Value {
    let id = id.as_ref().map_or_else(|| json!({"NULL": true}), |id| json!({"S": id}));
    json!({"M": {
        "embeddings_model": {"S": "titan_v2"},
        "open_search": {"M": {"analyzer": {"NULL": true}}},
        "chunking_strategy": {"S": "default"},
        "search_params": {"M": {"max_results": {"N": "20"}, "search_type": {"S": "hybrid"}}},
        "max_tokens": {"NULL": true},
        "overlap_percentage": {"NULL": true},
        "knowledge_base_id": id,
        "data_source_ids": {"NULL": true},
    }})
}

fn guardrails() -> Value {
    json!({"M": {
        "is_guardrail_enabled": {"BOOL": false}, "hate_threshold": {"N": "0"},
        "insults_threshold": {"N": "0"}, "sexual_threshold": {"N": "0"},
        "violence_threshold": {"N": "0"}, "misconduct_threshold": {"N": "0"},
        "grounding_threshold": {"N": "0"}, "relevance_threshold": {"N": "0"},
        "guardrail_arn": {"S": ""}, "guardrail_version": {"S": ""},
    }})
}
