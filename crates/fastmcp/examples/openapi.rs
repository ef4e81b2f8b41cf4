//! An HTTP API as tools: the weather of Open-Meteo, which needs no key.
//!
//! Run with: `cargo run -p fastmcp --example openapi`

use fastmcp::{openapi::OpenApi, prelude::*};

/// What of the API is offered. Most APIs publish such a document; read it from a file then.
const DOCUMENT: &str = r##"
openapi: 3.1.0
info: {title: Weather, version: 1.0.0, description: Forecasts for places by their coordinates.}
servers: [{url: https://api.open-meteo.com/v1}]
paths:
  /forecast:
    get:
      operationId: get_forecast
      summary: Forecast of the weather at a place
      parameters:
        - {name: latitude, in: query, required: true, schema: {type: number, minimum: -90, maximum: 90}}
        - {name: longitude, in: query, required: true, schema: {type: number, minimum: -180, maximum: 180}}
        - name: current
          in: query
          explode: false
          description: What is told of the present.
          schema:
            type: array
            items: {enum: [temperature_2m, wind_speed_10m, precipitation]}
      responses:
        "200":
          description: The forecast.
          content: {application/json: {schema: {type: object}}}
"##;

#[tokio::main]
async fn main() -> Result<()> {
    let api = OpenApi::builder(DOCUMENT).strict(true).build()?;
    FastMcp::from_openapi(api).run().await
}
