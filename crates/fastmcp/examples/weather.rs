//! Tools, a resource template, a prompt and a question to the user, over Streamable HTTP.
//!
//! Run with: `cargo run -p fastmcp --example weather`, then connect a client to http://127.0.0.1:8080/mcp

use std::net::SocketAddr;

use fastmcp::prelude::*;

/// A forecast.
#[derive(Debug, Serialize, JsonSchema)]
struct Forecast {
    /// The city.
    city: String,
    /// Degrees Celsius.
    temperature: i32,
}

/// Tells tomorrow's weather.
#[tool(read_only, tags("weather"))]
async fn get_forecast(
    /// A city, for example `London`.
    #[schemars(length(min = 1, max = 100))]
    city: String,
    ctx: Context,
) -> Forecast {
    ctx.info(format!("looking up {city}")).await;
    Forecast {
        temperature: i32::try_from(city.len()).unwrap_or(20),
        city,
    }
}

/// A form.
#[derive(Debug, Deserialize, JsonSchema)]
struct Destination {
    /// Where to?
    city: String,
    /// For how many days?
    days: u8,
}

/// Plans a trip, asking for what it needs to know.
#[tool]
async fn plan_trip(ctx: Context) -> Result<String> {
    let to: Destination = ctx
        .elicit("destination", "Where would you like to go?")
        .await?;
    Ok(format!("{} days in {}", to.days, to.city))
}

/// What is known of a city.
#[resource("weather://cities/{city}")]
async fn city(city: String) -> String {
    format!("{city}: no clouds in sight")
}

/// Asks for packing advice.
#[prompt]
fn pack(city: String) -> String {
    format!("What should I pack for {city}?")
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = FastMcp::new("weather")
        .tool(get_forecast)
        .tool(plan_trip)
        .resource(city)
        .prompt(pack);
    server
        .run_http(SocketAddr::from(([127, 0, 0, 1], 8080)))
        .await
}
