//! Whole paths over the in-memory transport and over sockets.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod arguments;
#[cfg(test)]
mod ask;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod client;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod extension;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod http;
#[cfg(test)]
mod inject;
#[cfg(test)]
mod listen;
#[cfg(test)]
mod once;
#[cfg(test)]
<<<<<<< HEAD
mod openapi;
=======
mod outputs;
>>>>>>> 9f0b66e (macros: values are handed in, methods of a value are components, arguments have bounds and checks; text that is the JSON of what is wanted is taken for it; timeouts, deprecation and features)
#[cfg(test)]
mod pages;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod stdio;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tasks_requested;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tools;
