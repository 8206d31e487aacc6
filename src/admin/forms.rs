//! What texts have to look like, as the schemas of the API say it. The checks themselves stand where the
//! texts are taken; `tests/api` holds the two against each other.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::catalogue::import;
use crate::provider::endpoint::Endpoint;

/// The name of a key, a team, a token or a tag, or a tag's value.
pub(super) struct Name;

/// A line of up to 500 characters, which is not blank.
pub(super) struct Reason;

/// A line of up to 128 characters.
pub(super) struct Line;

/// The name of an endpoint, as keys are held to them.
pub(super) struct EndpointName;

/// The text of a file of prices: JSON within JSON, because no figure of it may pass through a float.
pub(super) struct PriceFile;

macro_rules! form {
    ($($form:ty, $schema:tt;)*) => {
        $(impl JsonSchema for $form {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($form).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

form! {
    Name, {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "pattern": r"^(?!sk-|cdt-admin-)[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$",
    };
    Reason, {
        "type": "string",
        "minLength": 1,
        "maxLength": 500,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$",
    };
    Line, {
        "type": "string",
        "maxLength": 128,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
    };
    EndpointName, {
        "type": "string",
        "enum": Endpoint::ALL.map(Endpoint::name),
    };
    PriceFile, {
        "type": "string",
        "description": "What is in the file: it may lie where the server cannot read.",
        "format": "price-file",
        "contentMediaType": "application/json",
        "contentSchema": import::schema(),
    };
}
