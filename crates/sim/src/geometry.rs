//! Where the phones are.

use smartmesh_crypto::Rng;

/// A place on the plane, in millimetres from the south-west corner, so that arithmetic is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// East.
    pub x: i64,
    /// North.
    pub y: i64,
}

impl Point {
    /// The place this many metres east and north.
    pub const fn metres(x: i64, y: i64) -> Self {
        Self {
            x: x.saturating_mul(1_000),
            y: y.saturating_mul(1_000),
        }
    }

    /// The square of the distance, in square millimetres.
    pub fn distance_squared(self, other: Self) -> u64 {
        let dx = self.x.abs_diff(other.x);
        let dy = self.y.abs_diff(other.y);
        dx.saturating_mul(dx).saturating_add(dy.saturating_mul(dy))
    }
}

/// A rectangle in which phones live and move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Width in metres.
    pub width: u32,
    /// Height in metres.
    pub height: u32,
}

impl Field {
    /// A place anywhere in the field.
    pub fn random_point(self, rng: &mut Rng) -> Point {
        let x = rng.below(u64::from(self.width).saturating_mul(1_000));
        let y = rng.below(u64::from(self.height).saturating_mul(1_000));
        Point {
            x: i64::try_from(x).unwrap_or(0),
            y: i64::try_from(y).unwrap_or(0),
        }
    }

    /// A place this many metres away in a random direction, kept inside the field.
    pub fn random_step(self, from: Point, metres: u32, rng: &mut Rng) -> Point {
        let length = i64::from(metres).saturating_mul(1_000);
        // A direction drawn by rejection from the square around the unit circle, scaled to the step's length.
        let span = 2_000_001;
        let (dx, dy) = loop {
            let dx = i64::try_from(rng.below(span))
                .unwrap_or(0)
                .saturating_sub(1_000_000);
            let dy = i64::try_from(rng.below(span))
                .unwrap_or(0)
                .saturating_sub(1_000_000);
            let square = dx.saturating_mul(dx).saturating_add(dy.saturating_mul(dy));
            if (10_000..=1_000_000_000_000).contains(&square) {
                break (dx, dy);
            }
        };
        let norm = dx
            .saturating_mul(dx)
            .saturating_add(dy.saturating_mul(dy))
            .isqrt()
            .max(1);
        let x = from
            .x
            .saturating_add(dx.saturating_mul(length).checked_div(norm).unwrap_or(0));
        let y = from
            .y
            .saturating_add(dy.saturating_mul(length).checked_div(norm).unwrap_or(0));
        Point {
            x: reflect(x, self.width),
            y: reflect(y, self.height),
        }
    }
}

/// Folds a coordinate that left the field back into it.
fn reflect(value: i64, metres: u32) -> i64 {
    let end = i64::from(metres).saturating_mul(1_000);
    let folded = if value < 0 {
        value.saturating_neg()
    } else {
        value
    };
    let folded = if folded > end {
        end.saturating_mul(2).saturating_sub(folded)
    } else {
        folded
    };
    folded.clamp(0, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_crypto::Seed;

    #[test]
    fn steps_have_the_asked_length_and_stay_inside() {
        let field = Field {
            width: 1_000,
            height: 1_000,
        };
        let mut rng = Seed::new([1; 32]).rng();
        let mut at = Point::metres(500, 500);
        let next = field.random_step(at, 60, &mut rng);
        let distance = at.distance_squared(next).isqrt();
        assert!((59_990..=60_010).contains(&distance), "{distance}");
        for _ in 0..1_000 {
            at = field.random_step(at, 60, &mut rng);
            assert!((0..=1_000_000).contains(&at.x) && (0..=1_000_000).contains(&at.y));
        }
    }
}
