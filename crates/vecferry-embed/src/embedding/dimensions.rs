//! Whether a model's vectors fit the target's column: asked before the first call is paid.

use vecferry_core::Error;

use crate::embedder::Model;

/// A model whose vectors the column cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{model} makes vectors of {makes} dimensions, the target's column holds {holds}")]
pub struct WrongDimensions {
    /// The model's id.
    pub model: String,
    /// Length of its vectors.
    pub makes: usize,
    /// Length that the column demands.
    pub holds: usize,
}

impl From<WrongDimensions> for Error {
    fn from(wrong: WrongDimensions) -> Error {
        let hint = "choose a model of the column's dimensions, or set the model's `dimensions` \
                    where it can make several; the application must query with the same model";
        Error::Configuration { what: wrong.to_string(), hint: Some(hint.to_owned()) }
    }
}

/// Checks a model against the column, `None` when the column demands no length.
///
/// The same length does not mean the same space: vectors of two models must never share a table, which only the
/// recorded model ids can tell.
///
/// # Errors
/// [`WrongDimensions`] with both lengths.
pub fn check_dimensions(model: &Model, column: Option<usize>) -> Result<(), WrongDimensions> {
    match column {
        Some(holds) if holds != model.dimensions => {
            Err(WrongDimensions { model: model.id.clone(), makes: model.dimensions, holds })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_columns_own_length_fits() {
        let model = Model {
            id: "some.model".to_owned(),
            dimensions: 1024,
            texts_per_call: 1,
            chars_per_text: None,
            tokens_per_text: 512,
        };
        assert_eq!(check_dimensions(&model, Some(1024)), Ok(()));
        assert_eq!(check_dimensions(&model, None), Ok(()));
        let wrong = check_dimensions(&model, Some(1536)).unwrap_err();
        assert_eq!(
            Error::from(wrong).to_string(),
            "some.model makes vectors of 1024 dimensions, the target's column holds 1536"
        );
    }
}
