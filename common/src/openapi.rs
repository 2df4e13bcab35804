//! Schemas of what stands in the REST API and is defined here. Other types derive theirs where they stand.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ids::{MessageId, RoomId, UploadId, UserId};

/// Positive 63-bit integers; what the pattern lets pass beyond them names nothing.
const ID: &str = "^[1-9][0-9]{0,18}$";
/// The same, and `0` for "before everything".
const ID_OR_ZERO: &str = "^(0|[1-9][0-9]{0,18})$";

macro_rules! id_schema {
    ($id:ident, $pattern:expr, $description:literal) => {
        impl PartialSchema for $id {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .examples(["1234"])
                    .into()
            }
        }

        impl ToSchema for $id {
            fn name() -> Cow<'static, str> {
                stringify!($id).into()
            }
        }
    };
}

id_schema!(UserId, ID, "A user: a positive 63-bit integer as a decimal string.");
id_schema!(RoomId, ID, "A room: a positive 63-bit integer as a decimal string.");
id_schema!(UploadId, ID, "An upload: a positive 63-bit integer as a decimal string.");
id_schema!(
    MessageId,
    ID_OR_ZERO,
    "A message or another event of a room: a 63-bit integer as a decimal string. Later ones are greater."
);
