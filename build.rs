//! Makes Cargo embed the pages again when they were built again.

fn main() {
    let pages = "player/dist";
    // Cargo looks for changes only in a folder that exists; an empty one means "run make player".
    if let Err(error) = std::fs::create_dir_all(pages) {
        println!("cargo::warning={pages} cannot be made ({error}): the pages will be missing");
    }
    println!("cargo::rerun-if-changed={pages}");
    println!("cargo::rerun-if-changed=build.rs");
}
