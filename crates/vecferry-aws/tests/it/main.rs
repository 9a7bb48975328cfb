//! vecferry-aws against doubles that speak the real wire: moto, and the testkit's own for what moto does not do.

mod documents;
