//! Graceful degradation: one source after the other, then the last answer that is known, and at the end an honest sentence.
//!
//! Run with: `cargo run -p fastmcp-examples --bin graceful_degradation`

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use fastmcp::prelude::*;

/// A weather service, or the lack of one.
struct Service {
    up: bool,
}

impl Service {
    #[expect(clippy::unused_async, reason = "a service is waited for")]
    async fn ask(&self, city: &str) -> Result<String, ToolError> {
        if self.up {
            Ok(format!("22 °C in {city}"))
        } else {
            Err(ToolError::new("connection refused"))
        }
    }
}

struct Weather {
    primary: Service,
    fallback: Service,
    known: Mutex<HashMap<String, String>>,
}

#[tools]
impl Weather {
    /// Tells the weather, from whoever still knows it.
    #[tool(read_only)]
    async fn weather_with_fallback(&self, city: String, ctx: Context) -> String {
        for (name, service) in [("Primary", &self.primary), ("Fallback", &self.fallback)] {
            match service.ask(&city).await {
                Ok(weather) => {
                    self.known().insert(city, weather.clone());
                    return weather;
                }
                Err(error) => {
                    ctx.warning(format!("{name} weather API failed: {error}"))
                        .await
                }
            }
        }
        match self.known().get(&city) {
            Some(last) => format!("{last} (cached data - may be outdated)"),
            None => {
                format!("Weather data temporarily unavailable for {city}. Please try again later.")
            }
        }
    }
}

impl Weather {
    fn new(primary: bool, fallback: bool) -> Self {
        Self {
            primary: Service { up: primary },
            fallback: Service { up: fallback },
            known: Mutex::default(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn server(weather: Weather) -> FastMcp {
    FastMcp::new("Weather").tools(weather)
}

#[tokio::main]
async fn main() -> Result<()> {
    server(Weather::new(false, true)).run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(weather: Weather) -> String {
        let client = Client::connect(&server(weather).build().unwrap())
            .await
            .unwrap();
        let london = json!({"city": "London"});
        let told = client.call_tool("weather_with_fallback", london).await;
        told.unwrap().text().to_owned()
    }

    #[tokio::test]
    async fn an_answer_comes_from_whoever_has_one() {
        assert_eq!(told(Weather::new(true, true)).await, "22 °C in London");
        assert_eq!(told(Weather::new(false, true)).await, "22 °C in London");
        let known = Weather::new(false, false);
        known
            .known()
            .insert("London".to_owned(), "20 °C".to_owned());
        assert_eq!(told(known).await, "20 °C (cached data - may be outdated)");
        assert!(
            told(Weather::new(false, false))
                .await
                .contains("try again later")
        );
    }
}
