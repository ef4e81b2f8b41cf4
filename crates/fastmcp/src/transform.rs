//! Other faces for components: other names, other arguments, fewer of them.

mod namespace;

pub(crate) use namespace::Namespace;
