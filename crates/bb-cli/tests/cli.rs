//! The `bb` command from outside: what it prints where, its exit codes, the files it writes.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, str};

use bytesandbrains::prelude::{OnnxModelConfig, OnnxModelOptions};

type Outcome = Result<(), Box<dyn Error>>;

fn bb(arguments: &str, out: &Path) -> Result<Output, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bb"));
    Ok(command.args(arguments.split_whitespace()).arg("--out").arg(out).output()?)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn json_is_one_object_a_round_and_nothing_else() -> Outcome {
    let out = folder("json");
    let output = bb("demo --reference mlp --clients 10 --rounds 3 --json", &out)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = str::from_utf8(&output.stdout)?;
    assert_eq!(text.lines().count(), 3);
    for (line, number) in text.lines().zip(1_u64..) {
        let object: serde_json::Value = serde_json::from_str(line)?;
        let keys: Vec<&String> = object.as_object().into_iter().flatten().map(|(key, _)| key).collect();
        assert_eq!(keys, ["accuracy", "bytes_down", "bytes_up", "loss", "round", "seconds"]);
        assert_eq!(object["round"], number);
        for key in ["bytes_up", "bytes_down"] {
            // 4,810 numbers of four bytes to or from each of ten clients, and what an envelope adds.
            let bytes = object[key].as_u64().ok_or("bytes are a whole number")?;
            assert!((192_400..200_000).contains(&bytes), "{key}: {bytes}");
        }
        assert!(object["loss"].as_f64() > Some(0.0) && object["seconds"].as_f64() > Some(0.0));
    }
    Ok(())
}

#[test]
fn people_get_a_line_a_round_and_two_files() -> Outcome {
    let out = folder("people");
    let output = bb("demo --clients 3 --rounds 2 --seed 5", &out)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = str::from_utf8(&output.stdout)?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "3 clients · digits 1,437 train / 360 test, Dirichlet α 0.5 · mlp 64-64-10, 4,810 parameters · FedAvg · seed 5"
    );
    assert!(lines[1].starts_with("round 1/2   loss ") && lines[2].starts_with("round 2/2   loss "), "{text}");
    assert!(lines[3].starts_with("final accuracy 0."), "{text}");
    assert_eq!(lines[4], "reproduce: bb demo --clients 3 --rounds 2 --alpha 0.5 --seed 5");
    assert_eq!(lines.len(), 5);
    OnnxModelConfig::from_file(out.join("digits.onnx"), OnnxModelOptions::default())?;
    let svg = fs::read_to_string(out.join("digits.svg"))?;
    assert!(svg.starts_with("<svg") && svg.contains("accuracy on the test rows"));
    Ok(())
}

#[test]
fn the_same_seed_writes_the_same_model() -> Outcome {
    let (first, again, other) = (folder("first"), folder("again"), folder("other"));
    for (out, seed) in [(&first, 3), (&again, 3), (&other, 4)] {
        assert!(bb(&format!("demo --rounds 2 --seed {seed} --json"), out)?.status.success());
    }
    let model = |out: &PathBuf| fs::read(out.join("digits.onnx"));
    assert!(model(&first)? == model(&again)?, "two runs with one seed wrote different models");
    assert!(model(&first)? != model(&other)?, "runs with two seeds wrote one model");
    Ok(())
}

#[test]
fn a_trained_model_is_trained_on() -> Outcome {
    let (first, second) = (folder("before"), folder("after"));
    assert!(bb("demo --rounds 2 --json", &first)?.status.success());
    let model = first.join("digits.onnx");
    let output = bb(&format!("demo --rounds 1 --model {}", model.display()), &second)?;
    let text = str::from_utf8(&output.stdout)?;
    assert!(text.contains("digits.onnx, 4,810 parameters"), "{text}");
    Ok(())
}

#[test]
fn what_is_wrong_is_one_line_and_exit_code_2() -> Outcome {
    let out = folder("wrong");
    fs::create_dir_all(&out)?;
    let (text, file) = (out.join("text.onnx"), out.join("file"));
    fs::write(&text, "this is no model")?;
    fs::write(&file, "")?;
    let (text, missing) = (text.display(), out.join("missing.onnx").display().to_string());
    for (arguments, expected) in [
        ("demo --clients 0".to_owned(), "--clients must be at least 1 (got 0)"),
        ("demo --rounds 0".to_owned(), "--rounds must be at least 1 (got 0)"),
        ("demo --alpha=-1".to_owned(), "--alpha must be a number above 0 (got -1)"),
        ("demo --alpha -1".to_owned(), "--alpha must be a number above 0 (got -1)"),
        ("demo --rounds many".to_owned(), "'many'"),
        ("demo --nonsense".to_owned(), "'--nonsense'"),
        ("demonstrate".to_owned(), "'demonstrate'"),
        (format!("demo --model {missing}"), "missing.onnx"),
        (format!("demo --model {text}"), "text.onnx"),
    ] {
        let output = bb(&arguments, &out)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(output.stdout.is_empty(), "{arguments}");
        assert!(said.starts_with("error: ") && said.contains(expected), "{arguments}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments}: {said}");
    }
    let output = bb("demo --rounds 1", &file)?;
    assert_eq!(output.status.code(), Some(2), "an --out that is a file");
    Ok(())
}

#[test]
fn a_model_of_another_shape_is_refused_by_its_name() -> Outcome {
    let out = folder("shape");
    fs::create_dir_all(&out)?;
    let model = bytesandbrains::learn::models::Mlp::new([32, 10]).build()?;
    let config = OnnxModelConfig::new(model, OnnxModelOptions::default())?;
    let path = out.join("narrow.onnx");
    fs::write(&path, config.export_bytes(config.parameters())?)?;
    let output = bb(&format!("demo --model {}", path.display()), &out)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("narrow.onnx") && said.contains("64") && said.contains("32"), "{said}");
    Ok(())
}

/// A model that tests of `bb-learn` train.
fn curve(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../bb-learn/tests/data/curves/{name}.onnx"))
}

#[test]
fn networks_of_other_shapes_are_federated_with_one_flag() -> Outcome {
    for (name, parameters) in
        [("mlp", "2,410"), ("cnn", "1,490"), ("lstm", "5,706"), ("transformer", "2,698")]
    {
        let out = folder(name);
        let output = bb(&format!("demo --clients 3 --rounds 2 --model {}", curve(name).display()), &out)?;
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let text = str::from_utf8(&output.stdout)?;
        assert!(text.contains(&format!("{name}.onnx, {parameters} parameters")), "{text}");
        let (before, after) = (fs::read(curve(name))?, fs::read(out.join("digits.onnx"))?);
        assert!(before.len() == after.len() && before != after, "{name}");
    }
    Ok(())
}

#[test]
fn the_optimizer_is_a_flag_and_part_of_the_command_that_does_it_again() -> Outcome {
    let out = folder("optimizer");
    let output = bb("demo --clients 2 --rounds 1 --optimizer adamw --rate 0.005", &out)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = str::from_utf8(&output.stdout)?;
    assert!(text.contains("--seed 0 --optimizer adamw --rate 0.005"), "{text}");
    Ok(())
}

#[test]
fn a_model_is_inspected() -> Outcome {
    let inspect = |path: &Path| Command::new(env!("CARGO_BIN_EXE_bb")).arg("inspect").arg(path).output();
    let output = inspect(&curve("cnn"))?;
    assert!(output.status.success() && output.stderr.is_empty());
    let text = str::from_utf8(&output.stdout)?;
    for line in [
        "opset 21",
        "  image f32[batch,1,8,8]",
        "  logits f32[batch,10]",
        "parameters\n  conv1.weight f32[8,1,3,3]",
        "running moments\n  norm1.running_mean f32[8]",
        "BatchNormalization × 2",
        "runs: yes",
        "trains: yes, 8 parameters of 1442 numbers, compared with `label`",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let out = folder("inspect");
    fs::create_dir_all(&out)?;
    let path = out.join("broken.onnx");
    let mut model = bytesandbrains::learn::models::Mlp::new([64, 8, 10]).build()?;
    for node in model.graph.iter_mut().flat_map(|graph| &mut graph.node) {
        if node.op_type.as_deref() == Some("Relu") {
            node.op_type = Some("Quux".to_owned());
        }
    }
    let mut bytes = Vec::new();
    prost::Message::encode(&model, &mut bytes)?;
    fs::write(&path, bytes)?;
    let output = inspect(&path)?;
    let text = str::from_utf8(&output.stdout)?;
    assert!(output.status.success() && text.contains("ops that the backend does not run\n  Quux"), "{text}");
    assert!(text.contains("runs: no: ") && text.contains("trains: no: Quux (node"), "{text}");
    let output = inspect(&out.join("missing.onnx"))?;
    assert_eq!(output.status.code(), Some(2));
    assert!(str::from_utf8(&output.stderr)?.contains("missing.onnx"));
    Ok(())
}

#[test]
fn help_and_version_are_on_standard_output() -> Outcome {
    for flag in ["--help", "--version"] {
        let output = Command::new(env!("CARGO_BIN_EXE_bb")).arg(flag).output()?;
        assert!(output.status.success() && !output.stdout.is_empty() && output.stderr.is_empty(), "{flag}");
    }
    Ok(())
}
