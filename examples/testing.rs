//! Testing: units, snapshots, layers, and handlers by themselves.
//!
//! Run with: `cargo run -p fastmcp-examples --bin testing`
//! Run with `cargo test -p fastmcp-examples testing`.

use fastmcp::prelude::*;

/// What tells the weather; tests hand in another.
trait Source: Send + Sync + 'static {
    fn temperature(&self, city: &str) -> i32;
}

struct Thermometer;

impl Source for Thermometer {
    fn temperature(&self, city: &str) -> i32 {
        i32::try_from(city.len()).unwrap_or(20)
    }
}

struct Weather(Box<dyn Source>);

#[tools]
impl Weather {
    /// Tells the temperature in a city.
    #[tool(read_only)]
    async fn fetch_weather(&self, city: String, ctx: Context) -> i32 {
        ctx.info(format!("asking for {city}")).await;
        self.0.temperature(&city)
    }
}

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn server(source: impl Source) -> FastMcp {
    FastMcp::new("TestServer")
        .tool(add)
        .tools(Weather(Box::new(source)))
}

#[tokio::main]
async fn main() -> Result<()> {
    server(Thermometer).run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::testing;

    use super::*;

    struct AlwaysWarm;

    impl Source for AlwaysWarm {
        fn temperature(&self, _: &str) -> i32 {
            22
        }
    }

    #[tokio::test]
    async fn a_dependency_is_handed_in() {
        let server = server(AlwaysWarm).build().unwrap();
        let (client, recorder) = testing::connect(&server, testing::caller("ada").build())
            .await
            .unwrap();
        let told = client
            .call_tool("fetch_weather", json!({"city": "London"}))
            .await
            .unwrap();
        assert_eq!(told.data::<i32>().unwrap(), 22);
        let said = recorder.until("notifications/message", 1).await.unwrap();
        assert_eq!(said[0].params["data"], "asking for London");
    }

    #[tokio::test]
    async fn the_lists_of_a_server_are_a_text_that_stays() {
        let client = Client::connect(&server(Thermometer).build().unwrap())
            .await
            .unwrap();
        let lists = testing::snapshot(&client).await.unwrap();
        assert!(lists.contains("Adds two numbers.") && lists.contains("fetch_weather"));
    }

    #[tokio::test]
    async fn a_handler_runs_by_itself() {
        assert_eq!(add::call(5, 3).await, 8);
    }
}
