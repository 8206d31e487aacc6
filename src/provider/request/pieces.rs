//! What is sold by the piece rather than by what a model says: images, speech, and rankings, asked for in
//! JSON.

use super::scan::{Object, members, word};
use super::splice;
use super::{Call, RequestError};
use crate::provider::endpoint::Endpoint;
use crate::provider::json::Cursor;

/// What makes images where no model is named (`OpenAI`'s API reference).
pub(super) const IMAGE_MODEL: &str = "dall-e-2";

members!(
    /// The members that are read.
    Body {
        Model = "model",
        Prompt = "prompt",
        N = "n",
        Size = "size",
        Quality = "quality",
        Stream = "stream",
        PartialImages = "partial_images",
        Images = "images",
        Mask = "mask",
        Input = "input",
        Instructions = "instructions",
        StreamFormat = "stream_format",
        Query = "query",
        Documents = "documents",
    }
);

/// What becomes part of the prompt.
const PROMPT: [Body; 5] =
    [Body::Prompt, Body::Input, Body::Instructions, Body::Query, Body::Documents];

pub(super) fn read(endpoint: Endpoint, text: &str) -> Result<Call, RequestError> {
    let body = Object::of_body(text)?;
    let is_images = matches!(endpoint, Endpoint::ImageGenerations | Endpoint::ImageEdits);
    let (model, slot, absent) = if is_images {
        splice::model_or(&body, Body::Model, IMAGE_MODEL)?
    } else {
        let (model, slot) = splice::required_model(&body, Body::Model)?;
        (model, slot, false)
    };
    let mut call = Call::new(endpoint, model, text.len());
    call.models.push(slot);
    call.must_name_model = absent;
    call.prompt_bytes = body.length(&PROMPT);
    match endpoint {
        Endpoint::Speech => speech(&body, &mut call)?,
        Endpoint::Rerank => rerank(&body, &mut call)?,
        _ => images(&body, &mut call)?,
    }
    Ok(call)
}

fn images(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    body.required(Body::Prompt)?;
    call.images = body.number(Body::N)?.unwrap_or(1).max(1);
    call.image_size = body.word(Body::Size);
    call.image_quality = body.word(Body::Quality);
    call.stream = body.flag(Body::Stream)?;
    call.partial_images = body.number(Body::PartialImages)?.unwrap_or(0);
    // An edit's images, each at an address, in a file or in the body.
    let count = body.raw(Body::Images).map_or(0, count);
    let count = count + u64::from(body.has(Body::Mask));
    call.media = count > 0;
    call.images_in = call.media.then_some(count);
    Ok(())
}

fn speech(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    let param = "input";
    let input = word(body.required(Body::Input)?);
    let input = input.ok_or(RequestError::WrongType { param, expected: "a string" })?;
    call.speech_characters = input.chars().count() as u64;
    call.stream = body.word(Body::StreamFormat).is_some_and(|format| format == "sse");
    Ok(())
}

fn rerank(body: &Object<'_, Body>, call: &mut Call) -> Result<(), RequestError> {
    call.query_bytes = body.required(Body::Query)?.len() as u64;
    let documents = body.required(Body::Documents)?;
    if !documents.starts_with('[') {
        let expected = "a list of documents";
        return Err(RequestError::WrongType { param: "documents", expected });
    }
    call.documents = count(documents);
    Ok(())
}

/// How many elements a list has; anything else is one.
fn count(raw: &str) -> u64 {
    let mut count = 0;
    let read = Cursor::new(raw.as_bytes()).array(|cursor| {
        count += 1;
        cursor.skip().map(drop)
    });
    if raw.starts_with('[') && read.is_some() { count } else { count.max(1) }
}
