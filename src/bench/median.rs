//! The middle of several runs: one odd run does not move it.

/// The middle of some figures; between the two in the middle when their number is even, and 0 when
/// there are none.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => figures[odd / 2],
        even => (figures[even / 2 - 1] + figures[even / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_figure_does_not_move_the_middle() {
        assert_eq!(median([5.0, 900.0, 4.0].into_iter()), 5.0);
        assert_eq!(median([4.0, 5.0].into_iter()), 4.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
