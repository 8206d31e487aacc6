//! Sends a verb to a running server over its Unix socket.
//!
//! A dozen lines of HTTP/1.1 on a blocking socket: one small request, one answer with a known length,
//! then the end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{AdminError, Verb};

/// A connection to a server that runs.
pub struct Client(UnixStream);

impl Client {
    /// Connects; `None` when no server listens at `socket`.
    ///
    /// # Errors
    /// When the socket is there but cannot be used, as by somebody whom its mode keeps out.
    pub fn connect(socket: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Some(Self(stream))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(error),
            },
        }
    }

    pub fn send<V: Verb>(mut self, verb: &V) -> Result<V::Answer, AdminError> {
        let failed = |error: &dyn std::fmt::Display| {
            AdminError::Failed(format!("the server did not answer over its socket: {error}"))
        };
        let body = serde_json::to_vec(verb).map_err(|e| failed(&e))?;
        let answer = self.exchange(V::PATH, &body, V::PATIENCE).map_err(|e| failed(&e))?;
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&answer).map_err(|e| failed(&e))?;
        let (httparse::Status::Complete(length), Some(status)) = (parsed, head.code) else {
            return Err(failed(&"it broke off"));
        };
        let body = &answer[length..];
        if status == 200 {
            return serde_json::from_slice(body).map_err(|e| failed(&e));
        }
        let message = serde_json::from_slice::<serde_json::Value>(body).ok();
        let message = message.as_ref().and_then(|body| body["error"]["message"].as_str());
        Err(AdminError::from_status(status, message.unwrap_or("it gave no reason").to_owned()))
    }

    fn exchange(&mut self, path: &str, body: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        self.0.set_read_timeout(Some(patience))?;
        self.0.set_write_timeout(Some(patience))?;
        write!(
            self.0,
            "POST /admin/v1/{path} HTTP/1.1\r\nHost: conduit\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        self.0.write_all(body)?;
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer)?;
        Ok(answer)
    }
}
