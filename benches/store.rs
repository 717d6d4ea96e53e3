//! What the queue asks of a store, per engine: `cargo bench --bench store`.

fn main() {
    divan::main();
}
