//! A small HTTP server on loopback: a Python index, an apt repository, and faults on demand.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crosswheel::artifact::{Artifact, Sha256};

/// What goes wrong with the next requests for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed after so many bytes of the body.
    DropAfter(usize),
    /// This HTTP status, and no body.
    Status(u16),
    /// A `Range` header is passed over, and the whole file is sent.
    IgnoreRange,
    /// The first byte is another one.
    WrongBytes,
    /// Nothing follows after so many bytes of the body, until the client gives up.
    Stall(usize),
    /// The body is sent one byte at a time for its first 64 bytes, each flushed.
    Dribble,
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path, as sent.
    pub path: String,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

/// The form of project pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Html,
    Json,
}

/// A distribution of a project.
#[derive(Debug, Clone)]
pub struct Distribution {
    pub file: &'static str,
    pub content: Vec<u8>,
    pub yanked: Option<&'static str>,
}

#[derive(Default)]
struct State {
    /// Path to media type and body.
    files: BTreeMap<String, (&'static str, Vec<u8>)>,
    /// Path to what goes wrong with its next requests, and then with all of them.
    faults: BTreeMap<String, Vec<Fault>>,
    always: BTreeMap<String, Fault>,
    requests: Vec<Request>,
    /// The simple index that has what this one has not.
    elsewhere: Option<String>,
}

/// The server; it ends when this is dropped.
pub struct Index {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Index {
    /// Starts a server that has nothing yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The server's own last connection, made when it is dropped.
                if Arc::strong_count(&shared) == 1 {
                    break;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        Self { address, state }
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends clients on to another simple index for projects that are not here.
    pub fn send_on(&self, simple: &str) {
        self.state.lock().unwrap().elsewhere = Some(simple.trim_end_matches('/').to_owned());
    }

    /// The URL of the simple index.
    pub fn simple(&self) -> String {
        self.url("/simple/")
    }

    /// Adds or replaces a file.
    pub fn file(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.put(path, "application/octet-stream", content.into());
    }

    fn put(&self, path: &str, media: &'static str, content: Vec<u8>) {
        self.state.lock().unwrap().files.insert(path.to_owned(), (media, content));
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path).expect("a file that is there");
    }

    /// Adds a project: its page, and its files below `/files/`.
    pub fn project(&self, name: &str, form: Form, distributions: &[Distribution]) {
        let (media, page) = match form {
            Form::Html => ("text/html; charset=utf-8", html(distributions)),
            Form::Json => ("application/vnd.pypi.simple.v1+json", json(name, distributions)),
        };
        self.put(&format!("/simple/{name}/"), media, page.into_bytes());
        for distribution in distributions {
            self.file(&format!("/files/{}", distribution.file), distribution.content.clone());
        }
    }

    /// Lets the next requests for a path fail, one fault each.
    pub fn fail(&self, path: &str, faults: &[Fault]) {
        self.state.lock().unwrap().faults.insert(path.to_owned(), faults.to_vec());
    }

    /// Lets every request for a path fail.
    pub fn always_fail(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().always.insert(path.to_owned(), fault);
    }

    /// The requests for a path so far, in order.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|request| request.path == path).cloned().collect()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.state = Arc::default();
        // Wakes the listener, so that it sees that it is alone.
        drop(TcpStream::connect(self.address));
    }
}

/// The lock of a distribution of a project.
pub fn artifact(name: &str, version: &str, distribution: &Distribution) -> Artifact {
    Artifact {
        registry: "pypi".to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        file: distribution.file.to_owned(),
        size: distribution.content.len() as u64,
        sha256: Sha256::of(&distribution.content),
    }
}

fn html(distributions: &[Distribution]) -> String {
    let link = |d: &Distribution| {
        let yanked =
            d.yanked.map(|reason| format!(" data-yanked=\"{reason}\"")).unwrap_or_default();
        let digest = Sha256::of(&d.content);
        format!("<a href=\"../../files/{0}#sha256={digest}\"{yanked}>{0}</a><br/>\n", d.file)
    };
    let links: String = distributions.iter().map(link).collect();
    format!("<!DOCTYPE html><html><body>\n{links}</body></html>")
}

fn json(name: &str, distributions: &[Distribution]) -> String {
    let file = |d: &Distribution| {
        serde_json::json!({
            "filename": d.file,
            "url": format!("../../files/{}", d.file),
            "hashes": {"sha256": Sha256::of(&d.content).to_string()},
            "size": d.content.len(),
            "yanked": d.yanked.map_or(serde_json::Value::Bool(false), Into::into),
        })
    };
    let files: Vec<_> = distributions.iter().map(file).collect();
    serde_json::json!({"meta": {"api-version": "1.1"}, "name": name, "files": files}).to_string()
}

/// Answers one request and closes the connection.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request { path: path.clone(), range: None, authorization: None };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let range = request.range.clone();
    let (found, fault, elsewhere) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request);
        let next = state.faults.get_mut(&path).filter(|faults| !faults.is_empty());
        let fault = next.map(|faults| faults.remove(0)).or(state.always.get(&path).copied());
        (state.files.get(&path).cloned(), fault, state.elsewhere.clone())
    };
    if let (None, Some(simple), Some(project)) = (&found, elsewhere, path.strip_prefix("/simple/"))
    {
        let head =
            format!("Location: {simple}/{project}\r\nContent-Length: 0\r\nConnection: close");
        write!(&mut &*stream, "HTTP/1.1 302 Found\r\n{head}\r\n\r\n")?;
        return stream.shutdown(Shutdown::Write);
    }
    answer(stream, found, range, fault)?;
    stream.shutdown(Shutdown::Write)
}

fn answer(
    mut stream: &TcpStream,
    found: Option<(&'static str, Vec<u8>)>,
    range: Option<String>,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let empty = |mut stream: &TcpStream, status| {
        let head = "Content-Length: 0\r\nConnection: close";
        write!(stream, "HTTP/1.1 {status} Fault\r\n{head}\r\n\r\n")
    };
    if let Some(Fault::Status(status)) = fault {
        return empty(stream, status);
    }
    let Some((media, mut body)) = found else { return empty(stream, 404) };
    if fault == Some(Fault::WrongBytes) {
        body[0] ^= 0xff;
    }
    let total = body.len();
    let range = range.filter(|_| fault != Some(Fault::IgnoreRange));
    let head = match range.as_deref().map(|range| bounds(range, total)) {
        None => "200 OK\r\n".to_owned(),
        Some(None) => return empty(stream, 416),
        Some(Some((first, last))) => {
            body = body[first..=last].to_vec();
            format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\n")
        }
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {head}Content-Type: {media}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    match fault {
        Some(Fault::DropAfter(bytes)) => stream.write_all(&body[..bytes.min(length)]),
        Some(Fault::Stall(bytes)) => {
            stream.write_all(&body[..bytes.min(length)])?;
            // Ends when the client closes its end.
            std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
        }
        Some(Fault::Dribble) => {
            let (slow, rest) = body.split_at(length.min(64));
            for byte in slow {
                stream.write_all(&[*byte])?;
                stream.flush()?;
            }
            stream.write_all(rest)
        }
        _ => stream.write_all(&body),
    }
}

/// The first and last byte of `bytes=5-9` or `bytes=5-`, where the file has them.
fn bounds(range: &str, total: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok().filter(|first| *first < total)?;
    let last = last.parse().unwrap_or(usize::MAX).min(total - 1);
    Some((first, last))
}
