//! Shallow water: a lake at rest rests to the last bit, a dam breaks as Ritter says, and water that runs up a beach and
//! back is neither made nor lost.

use super::stage::{Room, component, example, last_totals};

const STATE: [&str; 3] = ["level", "discharge_x", "discharge_y"];

/// The newest state of a run of the example's case with other settings, component by component.
fn solve(room: &Room, settings: &[&str], names: &[&str]) -> Vec<Vec<f64>> {
    let _ = std::fs::remove_dir_all(room.path("solved"));
    room.alone("tsunami").runs(&example("tsunami"), "solved").set(&["output=[]"]).set(settings).ends_with(0);
    names.iter().map(|name| component(&room.run("solved"), name)).collect()
}

/// Writes a dataset for a grid of cells on the unit square, x fastest.
fn dataset(room: &Room, name: &str, [nx, ny]: [usize; 2], value: impl Fn(f64, f64) -> f64) -> String {
    let at = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
    let values: Vec<f64> = (0..nx * ny).map(|i| value(at(i % nx, nx), at(i / nx, ny))).collect();
    let path = room.path(name);
    let file = hdf5::File::create(&path).unwrap();
    let data = ndarray::Array2::from_shape_vec([ny, nx], values).unwrap();
    file.new_dataset_builder().with_data(&data).create("data").unwrap();
    format!("initial={{ file = {path:?}, dataset = \"data\", interpolation = \"nearest\", component = ")
}

#[test]
fn a_lake_over_the_real_sea_floor_stays_at_rest_to_the_last_bit() {
    let room = Room::new();
    for scheme in
        [["scheme.reconstruction=constant", "scheme.limiter="], ["scheme.reconstruction=plm", "scheme.limiter=mc"]]
    {
        for (integrator, riemann) in [("ssp_rk3", "hll"), ("vl2", "rusanov")] {
            let settings = [format!("time.integrator={integrator}"), format!("scheme.riemann={riemann}")];
            let settings: Vec<&str> = settings.iter().map(String::as_str).chain(scheme).collect();
            let at = |end: &str| {
                let more = ["model.height=0.0", "grid.cells=[120, 91]", end];
                solve(&room, &[&settings[..], &more].concat(), &STATE)
            };
            let [before, after] = ["time.end=0.0", "time.end=3600.0"].map(at);
            assert!(after == before, "{settings:?}: something moved");
            let wet = before[0].iter().filter(|level| **level == 0.0).count();
            assert!(wet > 3000 && wet < 9000, "{wet} of 10920 cells are sea");
        }
    }
}

#[test]
fn a_dam_breaks_over_dry_ground_as_ritter_says() {
    let room = Room::new();
    let (gravity, time) = (9.81, 0.1);
    let celerity = f64::sqrt(gravity);
    let error = |n: usize| {
        let start = dataset(&room, &format!("dam-{n}.h5"), [n, 2], |x, _| if x < 0.5 { 1.0 } else { 0.0 });
        let settings = [
            start + "\"level\" }",
            format!("grid={{ cells = [{n}, 2], upper = 1.0 }}"),
            format!("model.gravity={gravity}"),
            format!("time.end={time}"),
            "boundary.y=periodic".into(),
            "model.height=0.0".into(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let level = solve(&room, &settings, &["level"]).remove(0);
        let one = |(i, level): (usize, &f64)| {
            let speed = ((i as f64 + 0.5) / n as f64 - 0.5) / time;
            // Ritter 1892: between the tail of the rarefaction, -c, and the front, 2c.
            let exact = match speed {
                s if s < -celerity => 1.0,
                s if s < 2.0 * celerity => (2.0 * celerity - s).powi(2) / (9.0 * gravity),
                _ => 0.0,
            };
            assert!(*level > -1e-12, "{n} cells: the depth is {level} in cell {i}");
            (level - exact).abs()
        };
        level[..n].iter().enumerate().map(one).sum::<f64>() / n as f64
    };
    let (coarse, fine) = (error(100), error(200));
    println!("{coarse:.2e}, then {fine:.2e}");
    assert!(coarse < 5e-3 && fine < 0.6 * coarse, "{coarse:e}, then {fine:e}");
}

#[test]
fn a_wave_that_runs_up_a_beach_and_back_neither_makes_nor_loses_water() {
    let room = Room::new();
    const N: usize = 64;
    // A valley along y whose floor rises from -1 m by 3 m over the unit square, with a knoll that the wave floods.
    let floor = |x: f64, y: f64| 3.0 * x - 1.0 + 0.5 * (-((x - 0.25).powi(2) + (y - 0.5).powi(2)) / 0.01).exp();
    let start = dataset(&room, "beach.h5", [N, N], floor) + "\"floor\" }";
    let at = |end: f64| {
        let settings = [
            start.clone(),
            format!("grid={{ cells = [{N}, {N}], upper = 1.0 }}"),
            format!("time.end={end}"),
            "boundary={ x = \"reflecting\", y = \"reflecting\" }".into(),
            "model={ gravity = 9.81, floor = 0.0, height = 0.5, width = 0.1, centre = [0.0, 0.4] }".into(),
            "output=[{ what = \"totals\", every = { steps = 50 } }]".into(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let found = solve(&room, &settings, &["level", "floor"]);
        let depth: Vec<f64> = found[0].iter().zip(&found[1]).map(|(level, floor)| level - floor).collect();
        let least = depth.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(least > -1e-9, "at {end}: a depth of {least}");
        (depth.iter().map(|d| usize::from(*d > 1e-3)).collect::<Vec<_>>(), last_totals(&room.run("solved"))[2])
    };
    let times = [0.0, 0.2, 0.4, 1.0, 2.0];
    let found = times.map(at);
    let wetted =
        found.windows(2).map(|pair| pair[0].0.iter().zip(&pair[1].0).filter(|(a, b)| a < b).count()).max().unwrap();
    let dried =
        found.windows(2).map(|pair| pair[0].0.iter().zip(&pair[1].0).filter(|(a, b)| a > b).count()).max().unwrap();
    println!("{wetted} cells wetted, {dried} dried, level integrals {:?}", found.each_ref().map(|f| f.1));
    assert!(wetted > 50 && dried > 50, "{wetted} cells were wetted, {dried} dried");
    for (_, integral) in &found {
        assert!((integral / found[0].1 - 1.0).abs() < 1e-13, "{integral} was {}", found[0].1);
    }
}
