//! The examples compute what their equations say: exact solutions where there are any, orders of convergence, and stored
//! norms.

use std::f64::consts::{PI, TAU};

use steadfast::grid::{Cell, random};

use super::stage::{Room, component, example, last_totals, totals};

/// A case on the unit domain, periodic unless it says otherwise.
fn case(cells: &str, model: &str, time: &str) -> String {
    let axes = ["x", "y", "z"][..cells.split(',').count()].iter();
    let periodic: String = axes.map(|axis| format!("{axis} = \"periodic\"\n")).collect();
    format!(
        "grid.cells = {cells}\nboundary.{}\n[model]\n{model}\n[time]\n{time}\n",
        periodic.trim_end().replace('\n', "\nboundary.")
    )
}

/// The first component at the end of a run alone.
fn solve(room: &Room, program: &str, text: &str, name: &str) -> Vec<f64> {
    room.case("case.toml", text);
    let directory = room.path("solved");
    let _ = std::fs::remove_dir_all(&directory);
    room.alone(program).runs("case.toml", "solved").ends_with(0);
    component(&room.run("solved"), name)
}

/// The largest difference from a function of the cells' numbers along x.
fn error(u: &[f64], exact: impl Fn(usize) -> f64) -> f64 {
    u.iter().enumerate().map(|(i, u)| (u - exact(i)).abs()).fold(0.0, f64::max)
}

fn order(coarse: f64, fine: f64) -> f64 {
    (coarse / fine).log2()
}

fn centre(i: usize, n: usize) -> f64 {
    (i as f64 + 0.5) / n as f64
}

#[test]
fn a_sine_mode_decays_by_the_schemes_own_factor_in_every_dimension() {
    let room = Room::new();
    for dimension in 1..=3 {
        const N: usize = 16;
        let cells = format!("{:?}", vec![N; dimension]);
        let (step, steps) = (2e-4, 50);
        let time = format!("end = 1.0\nmax_steps = {steps}\nstep = {step}\nintegrator = \"forward_euler\"");
        let u = solve(&room, "heat", &case(&cells, "diffusivity = 0.5", &time), "temperature");
        // Sines are eigenvectors of the discrete Laplacian on a ring, with −4/h² sin²(π h) along each axis.
        let h = 1.0 / N as f64;
        let factor = 1.0 - 0.5 * step * dimension as f64 * 4.0 / (h * h) * (PI * h).sin().powi(2);
        let start =
            |i: usize| (0..dimension).map(|a| (TAU * centre(i / N.pow(a as u32) % N, N)).sin()).product::<f64>();
        // Fifty roundings of numbers below one.
        assert!(error(&u, |i| start(i) * factor.powi(steps)) < 1e-13, "{dimension}-D");
    }
}

#[test]
fn heat_converges_with_order_two_in_space() {
    let room = Room::new();
    let error = |n: usize| {
        let time = "end = 0.1\nstep = 1e-3\nintegrator = \"rk4\"";
        let u = solve(&room, "heat", &case(&format!("[{n}]"), "diffusivity = 0.1", time), "temperature");
        error(&u, |i| (TAU * centre(i, n)).sin() * (-0.1 * TAU * TAU * 0.1).exp())
    };
    let measured = order(error(16), error(32));
    assert!((measured - 2.0).abs() < 0.05, "{measured}");
}

#[test]
fn every_integrator_converges_with_its_order_in_time() {
    let room = Room::new();
    const N: usize = 8;
    let h = 1.0 / N as f64;
    let rate = -0.1 * 4.0 / (h * h) * (PI * h).sin().powi(2);
    for (integrator, expected) in [("forward_euler", 1.0), ("ssp_rk2", 2.0), ("ssp_rk3", 3.0), ("rk4", 4.0)] {
        let error = |steps: i32| {
            let time = format!("end = 1.0\nstep = {}\nintegrator = \"{integrator}\"", 1.0 / f64::from(steps));
            let u = solve(&room, "heat", &case("[8]", "diffusivity = 0.1", &time), "temperature");
            // Against the exact solution in time of the scheme in space.
            error(&u, |i| (TAU * centre(i, N)).sin() * rate.exp())
        };
        let measured = order(error(40), error(80));
        assert!((measured - expected).abs() < 0.15, "{integrator}: {measured}");
    }
}

#[test]
fn advection_returns_to_its_start_after_one_period_with_order_three() {
    let room = Room::new();
    let error = |n: usize| {
        let time = "end = 1.0\ncfl = 0.5\nintegrator = \"ssp_rk3\"";
        let u = solve(&room, "advection", &case(&format!("[{n}]"), "velocity = [1.0]", time), "u");
        error(&u, |i| (TAU * centre(i, n)).sin())
    };
    let (coarse, fine) = (error(32), error(64));
    let measured = order(coarse, fine);
    assert!((measured - 3.0).abs() < 0.1, "{measured}");
    assert!(fine < 1e-3, "{fine}");
}

#[test]
fn a_standing_wave_returns_to_its_start_after_one_period() {
    let room = Room::new();
    const N: usize = 32;
    // Held at both ends, the discrete mode sin(π x) swings with ω = 2c/h sin(π h/2) exactly.
    let start: Vec<f64> = (0..N).map(|i| (PI * centre(i, N)).sin()).collect();
    let file = hdf5::File::create(room.path("mode.h5")).unwrap();
    file.new_dataset_builder().with_data(&start).create("u").unwrap();
    drop(file);
    let h = 1.0 / N as f64;
    let period = TAU / (2.0 / h * (PI * h / 2.0).sin());
    let text = format!(
        r#"
grid.cells = [{N}]
boundary.x = {{ fixed_value = 0.0 }}
model = {{ speed = 1.0, width = 0.01 }}
initial = {{ file = "mode.h5", dataset = "u", interpolation = "nearest", component = "u" }}
[time]
end = {period}
step = {}
integrator = "rk4"
"#,
        period / 400.0
    );
    let u = solve(&room, "wave", &text, "u");
    // The phase error of 400 steps of ω dt = 2π/400: 400 (ω dt)⁵/120 = 3e-9.
    assert!(error(&u, |i| start[i]) < 1e-8, "{}", error(&u, |i| start[i]));
    let v = component(&room.run("solved"), "v");
    assert!(error(&v, |_| 0.0) < 1e-7);
}

#[test]
fn heat_between_two_faces_comes_to_rest_on_the_line_that_they_ask_for() {
    let room = Room::new();
    for (low, high, expected) in [
        ("{ fixed_value = 1.0 }", "{ fixed_value = 3.0 }", [1.0, 2.0]),
        ("{ fixed_value = 1.0 }", "{ fixed_gradient = 2.0 }", [1.0, 2.0]),
        ("{ fixed_gradient = -2.0 }", "{ fixed_value = 3.0 }", [1.0, 2.0]),
        ("{ fixed_value = 5.0 }", "\"outflow\"", [5.0, 0.0]),
        ("\"reflecting\"", "{ fixed_value = 5.0 }", [5.0, 0.0]),
    ] {
        let text = format!(
            "grid.cells = [8]\nboundary.x = {{ low = {low}, high = {high} }}\nmodel.diffusivity = 1.0\n[time]\nend = 16.0\ncfl = 0.9"
        );
        let u = solve(&room, "heat", &text, "temperature");
        let line = error(&u, |i| expected[0] + expected[1] * centre(i, 8));
        assert!(line < 1e-12, "{low} to {high}: {line}");
    }
}

#[test]
fn life_lives_exactly_as_a_plain_loop_says() {
    const CELLS: [usize; 2] = [96, 64];
    const GENERATIONS: usize = 60;
    let room = Room::new();
    let text = format!(
        "grid = {{ cells = {CELLS:?}, upper = [96.0, 64.0], block = [13, 20] }}\nboundary = {{ x = \"periodic\", y = \"periodic\" }}\nmodel = {{ density = 0.35, seed = 7 }}\ntime.end = {GENERATIONS}"
    );
    let found = solve(&room, "life", &text, "alive");
    let [nx, ny] = CELLS;
    let mut alive: Vec<bool> =
        (0..nx * ny).map(|i| random::uniform(7, Cell([(i % nx) as i64, (i / nx) as i64])) < 0.35).collect();
    for _ in 0..GENERATIONS {
        let next = |i: usize| {
            let (x, y) = (i % nx, i / nx);
            let around = (0..9).filter(|k| *k != 4).map(|k| (x + nx + k % 3 - 1) % nx + (y + ny + k / 3 - 1) % ny * nx);
            let count = around.filter(|&j| alive[j]).count();
            count == 3 || (alive[i] && count == 2)
        };
        alive = (0..nx * ny).map(next).collect();
    }
    assert!(alive.iter().any(|&a| a), "some live");
    assert_eq!(found, alive.iter().map(|&a| f64::from(u8::from(a))).collect::<Vec<_>>());
}

#[test]
fn what_diffuses_between_closed_walls_is_conserved_to_rounding() {
    let room = Room::new();
    room.alone("hillslope")
        .args(&["run", &example("hillslope"), "--dir", "closed", "--quiet"])
        .set(&HILLSLOPE)
        .ends_with(0);
    let table = totals(&room.run("closed"));
    let integrals: Vec<f64> =
        table.lines().skip(1).map(|row| row.split(',').nth(2).unwrap().parse().unwrap()).collect();
    assert!(integrals.len() > 3);
    for integral in &integrals {
        assert!((integral / integrals[0] - 1.0).abs() < 1e-13, "{integrals:?}");
    }
}

#[test]
fn the_lower_rooms_by_hand_give_the_same_bits_on_any_number_of_ranks() {
    let room = Room::new();
    let alone = room.alone("by_hand").ends_with(0).out;
    assert!(alone.contains("bits "), "{alone}");
    for ranks in [2, 3] {
        assert_eq!(room.on(ranks, "by_hand").ends_with(0).out, alone);
    }
}

/// The terrain at its own resolution.
const HILLSLOPE: [&str; 4] =
    ["grid.cells=[403, 344]", "time.cfl=0.1", "output.0.every.steps=4", "checkpoint.every.steps=10"];

/// The last row of totals of each example, on a grid that is coarse enough to be quick.
///
/// They were printed by these very runs once the tests above had passed; they guard against any later change. Integral,
/// minimum and maximum of each component; the tolerance leaves room for another machine's sine and exponential.
const NORMS: &[(&str, &[&str], &[f64])] = &[
    ("heat", &["grid.cells=[16, 16, 16]"], &[0.0, -0.7468388369225492, 0.7468388369225492]),
    ("hillslope", &HILLSLOPE, &[507535473890.64905, 252.5103039092315, 1062.595269081808]),
    ("advection", &[], &[0.0, -0.9960690605607074, 0.9960690605607072]),
    (
        "wave",
        &["grid.cells=[64, 64]"],
        &[
            -0.049019342037185734,
            -0.1465838536443054,
            0.08272691836725021,
            0.31431940475833087,
            -1.06874916358063,
            3.1834326621878204,
        ],
    ),
    (
        "gray_scott",
        &["grid.cells=[96, 96]", "time.max_steps=400", "output.0.fields=", "output.0.what=totals"],
        &[6.167566731500081, 0.2979695472860946, 1.0, 0.031445825025003114, 0.0, 0.4223689665208127],
    ),
    (
        "euler",
        &["grid.cells=[32, 64]", "time.end=0.5", "output=[{ what = \"totals\", every = { steps = 20 } }]"],
        &[
            2.9999999999033222,
            0.9990303027211227,
            2.001547066918031,
            0.9000008756450503,
            -1.0076843246987959,
            2.01436387575923,
            0.0,
            -0.023054544841938127,
            0.023054544841939004,
            31.350020113559378,
            15.009238093675641,
            16.014482926476802,
        ],
    ),
    (
        "tsunami",
        &["grid.cells=[120, 91]", "time.end=600", "output=[{ what = \"totals\", every = { steps = 20 } }]"],
        &[
            20898358791245.11,
            -0.5867254243091354,
            2205.0,
            4416823523.768674,
            -61.78482693021242,
            29.54674412358619,
            -27989891363.10404,
            -40.51950614562437,
            34.54099305959157,
            17994415919413.73,
            -1437.0,
            2205.0,
        ],
    ),
    ("life", &["time.max_steps=100"], &[6295.0, 0.0, 1.0]),
];

#[test]
fn every_example_has_its_stored_norms() {
    let room = Room::new();
    for (name, settings, expected) in NORMS {
        room.on(2, name).args(&["run", &example(name), "--dir", name, "--quiet"]).set(settings).ends_with(0);
        let found = &last_totals(&room.run(name))[2..];
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.chunks(3).zip(expected.chunks(3)) {
            // The integral of what is both above and below zero may be no more than rounding.
            let extreme = expected[1].abs().max(expected[2].abs());
            let near = |(f, e): (&f64, &f64)| match *name {
                "life" => f == e,
                _ => (f - e).abs() <= 1e-12 * extreme.max(if e == &expected[0] { e.abs() } else { 0.0 }),
            };
            let near = found.iter().zip(expected).all(near);
            assert!(near, "{name}: {found:?} is not {expected:?}");
        }
    }
}

#[test]
fn the_tool_measures_the_order_of_a_scheme() {
    let room = Room::new();
    let mut runs = Vec::new();
    for n in [16, 32, 64] {
        let time = "end = 1.0\ncfl = 0.5\nintegrator = \"ssp_rk3\"";
        let text =
            case(&format!("[{n}]"), "velocity = [1.0]", time) + "[[output]]\nwhat = \"fields\"\nevery = \"never\"\n";
        room.case("case.toml", &text);
        room.alone("advection").runs("case.toml", &format!("{n}.run")).ends_with(0);
        runs.push(format!("third={n}.run"));
    }
    let [a, b, c] = [0, 1, 2].map(|i| runs[i].as_str());
    for against in ["start", "finer"] {
        let arguments = ["converge", "--json", "--against", against, "-o", "orders.png", a, b, c];
        let out = room.tool().args(&arguments).ends_with(0).out;
        let measured: serde_json::Value = serde_json::from_str(&out).unwrap();
        let errors = measured[0]["errors"].as_array().unwrap();
        assert_eq!(errors.len(), if against == "start" { 3 } else { 2 });
        let order = errors.last().unwrap()["order"].as_f64().unwrap();
        assert!((order - 3.0).abs() < if against == "start" { 0.1 } else { 1.1 }, "{against}: {out}");
        assert!(std::fs::read(room.path("orders.png")).unwrap().starts_with(b"\x89PNG"));
    }
    let refused = room.tool().args(&["converge", b, "third=absent.run"]).ends_with(2);
    assert!(refused.err.contains("the run has no checkpoint"), "{}", refused.err);
    let refused = room.tool().args(&["converge", c, a]).ends_with(2);
    assert!(refused.err.contains("no whole multiple"), "{}", refused.err);
    let refused = room.tool().args(&["converge", "--against", "start", c, a]).ends_with(2);
    assert!(refused.err.contains("is not finer than the one before it"), "{}", refused.err);
}
