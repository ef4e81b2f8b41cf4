//! args.
