//! A picture of a run: phones, who hears whom, and the links that are kept.
#![expect(clippy::arithmetic_side_effects, reason = "metres of a picture")]

use std::fmt::Write;

use crate::World;

/// Draws the present moment as an SVG document.
pub fn svg(world: &World) -> String {
    let count = u32::try_from(world.len()).unwrap_or(u32::MAX);
    let places: Vec<_> = (0..count).map(|node| world.medium.position(node)).collect();
    let width = places.iter().map(|place| place.x).max().unwrap_or(0) / 1_000 + 40;
    let height = places.iter().map(|place| place.y).max().unwrap_or(0) / 1_000 + 40;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-20 -20 {width} {height}\">\n\
         <rect x=\"-20\" y=\"-20\" width=\"100%\" height=\"100%\" fill=\"#0b1020\"/>\n"
    );
    for (a, b) in world.medium.edges() {
        let (a, b) = (world.medium.position(a), world.medium.position(b));
        let _ = writeln!(
            text,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"#35507a\" stroke-width=\"0.6\"/>",
            a.x / 1_000,
            a.y / 1_000,
            b.x / 1_000,
            b.y / 1_000
        );
    }
    for (node, place) in (0_u32..).zip(&places) {
        let colour = if world.node(node).is_some() {
            "#7de2a7"
        } else {
            "#804050"
        };
        let (x, y) = (place.x / 1_000, place.y / 1_000);
        let _ = writeln!(
            text,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"><title>{node}</title></circle>"
        );
    }
    text.push_str("</svg>\n");
    text
}
