//! The JSON schemas of values that are written as texts of their own form. Each says what is always
//! understood and always written; some are read in other forms too.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::access::{SessionId, TokenId};
use super::adjustment::{AdjustmentId, Correction};
use super::audit::AuditId;
use super::cidr::Cidr;
use super::key::KeyId;
use super::money::{Money, Rate};
use super::pattern::Pattern;
use super::request_id::RequestId;
use super::team::TeamId;
use super::window::{Timestamp, Zone};

macro_rules! text {
    ($($type:ty, $name:literal, $schema:tt;)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

text! {
    Money, "Money", {
        "type": "string",
        "description": "US dollars, exact to nine decimal places.",
        "pattern": "^(0|[1-9][0-9]{0,9})(\\.[0-9]{1,9})?$",
        "maxLength": 20,
        "examples": ["2.50"],
    };
    Rate, "Rate", {
        "type": "string",
        "description": "US dollars for a million.",
        "pattern": "^(0|[1-9][0-9]{0,9})(\\.[0-9]{1,9})?$",
        "maxLength": 20,
        "examples": ["2.50"],
    };
    Correction, "Correction", {
        "type": "string",
        "description": "US dollars: charged, or credited with a minus before them. Not nothing.",
        "pattern": "^-?(?!0(\\.0+)?$)(0|[1-9][0-9]{0,9})(\\.[0-9]{1,9})?$",
        "maxLength": 21,
        "examples": ["-0.50"],
    };
    Timestamp, "Timestamp", {
        "type": "string",
        "format": "date-time",
        "description": "An instant as in RFC 3339; also read: a date, which is its midnight in UTC.",
        "examples": ["2030-01-31T12:00:00.000Z"],
    };
    Zone, "TimeZone", {
        "type": "string",
        "description": "The name of a time zone in the tz database.",
        "pattern": "^[A-Za-z0-9_+/-]+$",
        "maxLength": 64,
        "examples": ["Europe/Berlin"],
    };
    Pattern, "ModelPattern", {
        "type": "string",
        "description": "The name of a model, in which each * stands for anything.",
        "pattern": "^[!-~]+$",
        "maxLength": 256,
        "examples": ["gpt-*"],
    };
    Cidr, "Network", {
        "type": "string",
        "description": "A network by its first address, or one address.",
        "format": "cidr",
        "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(/(0|[1-9][0-9]{0,2}))?$",
        "examples": ["10.0.0.0/8"],
    };
    KeyId, "KeyId", {
        "type": "string",
        "pattern": "^key_[0-9A-Za-z]{11}$",
        "examples": ["key_00000000001"],
    };
    TeamId, "TeamId", {
        "type": "string",
        "pattern": "^team_[0-9A-Za-z]{11}$",
        "examples": ["team_00000000001"],
    };
    TokenId, "TokenId", {
        "type": "string",
        "pattern": "^tok_[0-9A-Za-z]{11}$",
        "examples": ["tok_00000000001"],
    };
    SessionId, "SessionId", {
        "type": "string",
        "pattern": "^ses_[0-9A-Za-z]{11}$",
        "examples": ["ses_00000000001"],
    };
    RequestId, "RequestId", {
        "type": "string",
        "pattern": "^req_[0-6][0-9A-Za-z]{21}$",
        "examples": ["req_0000000000000000000001"],
    };
    AdjustmentId, "AdjustmentId", {
        "type": "string",
        "pattern": "^adj_[0-6][0-9A-Za-z]{21}$",
        "examples": ["adj_0000000000000000000001"],
    };
    AuditId, "AuditId", {
        "type": "string",
        "pattern": "^aud_[0-6][0-9A-Za-z]{21}$",
        "examples": ["aud_0000000000000000000001"],
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    /// Reads the examples, and writes each as it stands.
    #[track_caller]
    fn examples_hold<T: JsonSchema + Serialize + DeserializeOwned>() {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let examples = schema.get("examples").and_then(|examples| examples.as_array()).unwrap();
        for example in examples {
            let value: T = serde_json::from_value(example.clone()).unwrap();
            assert_eq!(&serde_json::to_value(&value).unwrap(), example);
        }
    }

    #[test]
    fn each_example_is_read_and_written() {
        examples_hold::<Money>();
        examples_hold::<Rate>();
        examples_hold::<Correction>();
        examples_hold::<Timestamp>();
        examples_hold::<Zone>();
        examples_hold::<Pattern>();
        examples_hold::<Cidr>();
        examples_hold::<KeyId>();
        examples_hold::<TeamId>();
        examples_hold::<TokenId>();
        examples_hold::<SessionId>();
        examples_hold::<RequestId>();
        examples_hold::<AdjustmentId>();
        examples_hold::<AuditId>();
    }
}
