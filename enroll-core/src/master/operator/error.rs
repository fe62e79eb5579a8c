//! Why an operator's wish is not fulfilled.

use crate::master::error::Error;
use crate::master::mesh::MeshError;
use crate::store::StoreError;

/// Why an operator's wish is not fulfilled. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// There is no such thing: answer `not_found`.
    #[error("there is no {0} of this name or id")]
    NotFound(&'static str),
    /// It stands otherwise than the wish supposes: answer `conflict`.
    #[error("{0}")]
    Conflict(String),
    /// The wish makes no sense: answer `validation_failed`.
    #[error("{0}")]
    Invalid(String),
    /// This master has no client for a mesh: answer `not_found`.
    #[error("this master has no client for the control plane of a mesh: start it with one")]
    NoMesh,
    /// The control plane of the mesh did not do what it was asked: answer `mesh_unavailable`.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The master cannot at the moment.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<StoreError> for OperatorError {
    fn from(cause: StoreError) -> Self {
        Self::Failed(cause.into())
    }
}

impl From<std::io::Error> for OperatorError {
    /// Only the source of randomness gives such an error here.
    fn from(cause: std::io::Error) -> Self {
        Self::Failed(cause.into())
    }
}
