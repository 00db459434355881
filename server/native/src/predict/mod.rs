pub mod backlog;
pub mod budget;
pub mod loading;
pub mod pipeline;
pub mod pool;
pub mod scoring;
pub mod shadow;
