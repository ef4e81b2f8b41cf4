//! A login in the person's browser.

use std::{fmt, sync::Arc};

use fastmcp_auth::oauth::{Authorize, AuthorizeError, Interaction};
use fastmcp_transport::{browser, loopback::Loopback};
use futures_util::future::BoxFuture;

type Show = Arc<dyn Fn(&str) + Send + Sync>;

/// Has the person log in with their browser, which brings the answer to a port of this machine.
///
/// ```no_run
/// use std::sync::Arc;
/// use fastmcp::{
///     Client,
///     auth::oauth::{Grant, OAuthClient, OAuthConfig},
///     client::BrowserLogin,
/// };
///
/// # async fn example() -> fastmcp::Result<()> {
/// let url = "https://mcp.example.com/mcp";
/// let login = BrowserLogin::new().on_url(|url| tracing::info!(url, "log in here"));
/// let oauth = OAuthClient::new(OAuthConfig::new(url, Grant::Person(Arc::new(login))))?;
/// let client = Client::builder().oauth(&oauth).connect_url(url).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BrowserLogin {
    port: u16,
    path: String,
    opens: bool,
    show: Option<Show>,
}

impl Default for BrowserLogin {
    fn default() -> Self {
        Self::new()
    }
}

impl BrowserLogin {
    /// Opens the browser, and waits at `/callback` on any port that is free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            port: 0,
            path: "/callback".to_owned(),
            opens: true,
            show: None,
        }
    }

    /// Waits at `path` on `port`, for authorization servers that know the redirect URI beforehand: it is
    /// `http://127.0.0.1:` with port and path.
    #[must_use]
    pub fn at(mut self, port: u16, path: impl Into<String>) -> Self {
        self.port = port;
        self.path = path.into();
        self
    }

    /// Tells `show` the address to log in at, whether or not a browser opens.
    #[must_use]
    pub fn on_url(mut self, show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.show = Some(Arc::new(show));
        self
    }

    /// Opens no browser: the person does, at the address that [`Self::on_url`] shows.
    #[must_use]
    pub const fn without_opening(mut self) -> Self {
        self.opens = false;
        self
    }

    fn show(&self, url: &str) -> Result<(), AuthorizeError> {
        if let Some(show) = &self.show {
            show(url);
        }
        if !self.opens && self.show.is_none() {
            let nobody = "no browser is opened, and the address is shown to nobody";
            return Err(AuthorizeError::Nobody(nobody.to_owned()));
        }
        if self.opens
            && let Err(error) = browser::open(url)
        {
            tracing::debug!(%error, "no browser opens");
            if self.show.is_none() {
                return Err(AuthorizeError::Nobody("no browser opens".to_owned()));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for BrowserLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserLogin")
            .field("port", &self.port)
            .field("path", &self.path)
            .field("opens", &self.opens)
            .finish_non_exhaustive()
    }
}

impl Authorize for BrowserLogin {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Interaction>, AuthorizeError>> {
        Box::pin(async {
            let bound = Loopback::bind(self.port, &self.path).await;
            let loopback = bound.map_err(|error| {
                AuthorizeError::failed(format!("no port to wait for the browser at: {error}"))
            })?;
            let login = self.clone();
            Ok(Box::new(Waiting { login, loopback }) as Box<dyn Interaction>)
        })
    }
}

/// One login that is about to happen.
#[derive(Debug)]
struct Waiting {
    login: BrowserLogin,
    loopback: Loopback,
}

impl Interaction for Waiting {
    fn redirect_uri(&self) -> &str {
        self.loopback.redirect_uri()
    }

    fn authorize<'a>(
        self: Box<Self>,
        url: &'a str,
        state: &'a str,
    ) -> BoxFuture<'a, Result<String, AuthorizeError>> {
        Box::pin(async move {
            self.login.show(url)?;
            let answer = self.loopback.wait(state).await;
            answer.map_err(|error| AuthorizeError::failed(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::mpsc,
    };

    use super::*;

    #[tokio::test]
    async fn the_answer_comes_from_the_browser_that_was_sent() {
        let (shown, mut urls) = mpsc::channel(1);
        let login = BrowserLogin::new()
            .at(0, "/back")
            .without_opening()
            .on_url(move |url| shown.try_send(url.to_owned()).unwrap());
        let interaction = login.begin().await.unwrap();
        let back = interaction.redirect_uri().to_owned();
        let browser = async {
            assert_eq!(
                urls.recv().await.unwrap(),
                "https://idp.example/authorize?x=1"
            );
            let authority = back
                .strip_prefix("http://")
                .unwrap()
                .strip_suffix("/back")
                .unwrap();
            let mut stream = TcpStream::connect(authority).await.unwrap();
            let request = format!("GET /back?code=c&state=s HTTP/1.1\r\nhost: {authority}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            page
        };
        let asked = interaction.authorize("https://idp.example/authorize?x=1", "s");
        let (answer, page) = tokio::join!(asked, browser);
        assert_eq!(answer.unwrap(), "code=c&state=s");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    }

    #[tokio::test]
    async fn somebody_must_see_the_address() {
        let interaction = BrowserLogin::new().without_opening().begin().await.unwrap();
        let error = interaction
            .authorize("https://idp.example/", "s")
            .await
            .unwrap_err();
        assert!(matches!(error, AuthorizeError::Nobody(_)), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_said() {
        let first = BrowserLogin::new().begin().await.unwrap();
        let port = first
            .redirect_uri()
            .rsplit_once(':')
            .unwrap()
            .1
            .strip_suffix("/callback")
            .unwrap();
        let taken = BrowserLogin::new().at(port.parse().unwrap(), "/callback");
        let error = taken.begin().await.unwrap_err().to_string();
        assert!(error.contains("no port to wait"), "{error}");
    }
}
