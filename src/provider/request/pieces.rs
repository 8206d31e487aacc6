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

pub(super) fn read(
    endpoint: Endpoint,
    named: Option<&str>,
    text: &str,
) -> Result<Call, RequestError> {
    let body = Object::of_body(text)?;
    let is_images = matches!(endpoint, Endpoint::ImageGenerations | Endpoint::ImageEdits);
    let default = is_images.then_some(IMAGE_MODEL);
    let (model, slot, unnamed) = splice::model_of(&body, Body::Model, named, default)?;
    let mut call = Call::new(endpoint, model, text.len());
    call.models = vec![slot];
    call.must_name_model = unnamed;
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

#[cfg(test)]
mod tests {
    use super::super::{Edits, Head, read as read_any, rewrite};
    use super::*;
    use bytes::Bytes;

    #[test]
    fn images_are_counted_with_their_size_and_quality() {
        let body = r#"{"prompt":"a cat","n":3,"size":"1024x1536","quality":"hd","model":"m","stream":true,"partial_images":2}"#;
        let call = read(Endpoint::ImageGenerations, None, body).expect("a call");
        assert_eq!((call.images, call.partial_images, call.stream), (3, 2, true));
        assert_eq!(call.image_size.as_deref(), Some("1024x1536"));
        assert_eq!(call.image_quality.as_deref(), Some("hd"));
        let body = r#"{"model":"m","prompt":"a","images":[{"image_url":"u"},{"file_id":"f"}],"mask":{"file_id":"g"}}"#;
        let call = read(Endpoint::ImageEdits, None, body).expect("a call");
        assert_eq!((call.images, call.images_in), (1, Some(3)));
        let error = read(Endpoint::ImageGenerations, None, "{}").expect_err("no prompt");
        assert_eq!(error, RequestError::Missing("prompt"));
    }

    #[test]
    fn a_model_that_the_provider_would_choose_is_always_named() {
        for (body, expected) in [
            (r#"{"prompt":"a"}"#, r#"{"model":"dall-e-2","prompt":"a"}"#),
            (r#"{"prompt":"a","model": null}"#, r#"{"prompt":"a","model": "dall-e-2"}"#),
        ] {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let call =
                read_any(Endpoint::ImageGenerations, &Head::default(), &body).expect("a call");
            assert_eq!(call.model, "dall-e-2");
            assert_eq!(rewrite(&body, &call, &Edits::default()), expected);
        }
    }

    #[test]
    fn the_characters_to_be_spoken_are_counted_as_they_are_read() {
        let body = r#"{"model":"m","input":"gr\u00fc\u00df \ud83d\ude00","voice":"v","stream_format":"sse"}"#;
        let call = read(Endpoint::Speech, None, body).expect("a call");
        assert_eq!((call.speech_characters, call.stream), (6, true));
        let error =
            read(Endpoint::Speech, None, r#"{"model":"m","input":["a"]}"#).expect_err("no text");
        assert_eq!(error, RequestError::WrongType { param: "input", expected: "a string" });
    }

    #[test]
    fn documents_are_counted() {
        let body = r#"{"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1}"#;
        let call = read(Endpoint::Rerank, None, body).expect("a call");
        assert_eq!((call.documents, call.query_bytes), (2, 3));
        let error = read(Endpoint::Rerank, None, r#"{"model":"m","query":"q"}"#).expect_err("none");
        assert_eq!(error, RequestError::Missing("documents"));
    }
}
