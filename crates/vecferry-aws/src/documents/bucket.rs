//! Whether the bucket of uploaded files can be read at all. One that is not there makes every document look refused:
//! one mistake, told once, instead of thousands of reasons.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use vecferry_core::Error;
use vecferry_core::bot::{Bot, DocumentAddress};
use vecferry_core::error::Result;

use super::S3Documents;
use crate::failure::failed;

/// Files that are asked for where the bucket may not be listed. More than one, because without that right a file that
/// is missing is refused too.
const TRIED: usize = 3;

/// What a look at the bucket says.
#[derive(Debug)]
pub enum Access {
    /// Its files may be read, or none are wanted.
    Granted,
    /// Neither its listing nor any of a few files may be read from here, with what S3 said: enough where only tasks with
    /// a role of their own read it.
    Denied(Box<Error>),
}

impl Access {
    /// The refusal as an error, where files are read from here.
    ///
    /// # Errors
    /// What S3 said.
    pub fn granted(self) -> Result<()> {
        match self {
            Access::Granted => Ok(()),
            Access::Denied(error) => Err(*error),
        }
    }
}

impl S3Documents {
    /// Asks whether files of these bots can be read from here, by a request or a few. Without a bucket, or without
    /// uploaded files, nothing is asked.
    ///
    /// # Errors
    /// [`Error::Service`] when the bucket is not there, or S3 cannot be asked.
    pub async fn check(&self, bots: &[Bot]) -> Result<Access> {
        let Some(bucket) = &self.bucket else { return Ok(Access::Granted) };
        let files = bots.iter().filter_map(|bot| {
            let is_file = |it: &&DocumentAddress| matches!(it, DocumentAddress::File(_));
            Some((bot, bot.documents.iter().find(is_file)?))
        });
        let files: Vec<(&Bot, &DocumentAddress)> = files.take(TRIED).collect();
        let Some((first, _)) = files.first() else { return Ok(Access::Granted) };
        let prefix = format!("{}/{}/documents/", first.key.owner, first.key.id);
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix).max_keys(1);
        let Err(error) = request.send().await else { return Ok(Access::Granted) };
        if status(&error) == Some(403) {
            for (bot, file) in files {
                // Places of uploaded files are all in the bucket.
                let Ok(place) = self.place(bot, file) else { continue };
                let head = self.client.head_object().bucket(&place.bucket).key(&place.key);
                if head.send().await.is_ok() {
                    return Ok(Access::Granted);
                }
            }
            return Ok(Access::Denied(Box::new(unreadable(bucket, &error))));
        }
        Err(unreadable(bucket, &error))
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn unreadable<E>(bucket: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let remedy = remedy(status(error), code);
    match failed("S3", format!("read the documents in bucket {bucket}"), error) {
        Error::Service { service, doing, class, source, hint } => {
            let hint = remedy.map(str::to_owned).or(hint);
            Error::Service { service, doing, class, source, hint }
        }
        other => other,
    }
}

/// What to look at, where S3's answer tells.
fn remedy(status: Option<u16>, code: Option<&str>) -> Option<&'static str> {
    match (status, code) {
        (_, Some("NoSuchBucket")) | (Some(404), _) => Some(
            "check --bucket (bucket under [documents] in the file) and the account: `aws s3 ls` shows its buckets, \
             `vecferry init` finds the stack's",
        ),
        (Some(301), _) => Some("the bucket is in another region: pass --region"),
        (Some(403), _) => Some(
            "it needs s3:ListBucket and s3:GetObject (vecferry check --print-policy reembed), and kms:Decrypt where \
             the bucket has a key of its own; check --bucket too",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_a_bucket_has_its_remedy() {
        for (status, code, words) in [
            (Some(404), Some("NoSuchBucket"), "--bucket"),
            (Some(404), None, "--bucket"),
            (Some(301), Some("PermanentRedirect"), "--region"),
            (Some(403), Some("AccessDenied"), "s3:ListBucket"),
        ] {
            assert!(remedy(status, code).unwrap().contains(words), "{status:?}");
        }
        assert_eq!(remedy(Some(503), Some("SlowDown")), None);
    }
}
