import Foundation
import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

/// The processor, with two threads: the threads' tiles are part of what is tested.
let testDevice = Device.cpu(threads: 2)

/// Files that lie beside the tests.
enum Fixture {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .appendingPathComponent("Fixtures").path

    static func path(_ name: String) -> String { Files.join(root, name) }
    static func model(_ name: String) -> String { path("models/\(name)") }

    static func json(_ name: String) throws -> JSON {
        try JSON.parse(try Files.read(path(name)), name: name)
    }
}

/// A folder for one test, gone when `body` ends.
func withFolder<T>(_ body: (String) throws -> T) throws -> T {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent(
        "keel-\(UUID().uuidString)"
    ).path
    try Files.makeDirectory(path)
    defer { try? Files.remove(path) }
    return try body(path)
}

/// A tiny model with random weights that are far from 0, so that every path matters.
///
/// - Parameter family: "llama" or "gpt2".
func tinyModel(
    _ family: String, dtype: DType = .f32, vocabulary: Int = 23, changes: JSONObject = [:]
) throws -> Model {
    var config: JSONObject =
        family == "gpt2"
        ? [
            "model_type": "gpt2", "vocab_size": JSON(vocabulary), "n_embd": 12, "n_head": 3,
            "n_layer": 2,
            "n_positions": 24, "eos_token_id": 0, "initializer_range": 0.4,
            "scale_attn_by_inverse_layer_idx": true,
        ]
        : [
            "model_type": "llama", "vocab_size": JSON(vocabulary), "hidden_size": 12,
            "intermediate_size": 20,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 6,
            "max_position_embeddings": 24, "rope_theta": 100.0, "eos_token_id": 0,
            "initializer_range": 0.4,
            "attention_bias": true, "mlp_bias": true,
        ]
    for (key, value) in changes { config[key] = value }
    let model = try Model.new(
        ModelConfig(config, path: "config.json"), seed: 3, dtype: dtype, device: testDevice)
    // Norms and biases too: ones and zeros would hide mistakes.
    for parameter in model.parameters where parameter.shape.count == 1 {
        let stream = RandomStream(seed: 5, place: parameter.name)
        let values = parameter.master.doubles().enumerated().map {
            $1 + 0.3 * stream.normal(UInt64($0))
        }
        parameter.assign(Tensor(values, shape: parameter.shape, device: testDevice))
    }
    return model
}

extension JSON {
    var doubles: [Double] { (array ?? []).map { $0.double ?? .nan } }
    var ids: [Int32] { (array ?? []).map { Int32($0.int ?? -1) } }
    var ints: [Int] { (array ?? []).map { $0.int ?? -1 } }
}

/// Expects the tape's gradient of every parameter to equal central differences in f64.
///
/// - Parameter loss: one number; called again and again with moved parameters.
func expectGradients(
    of parameters: [Parameter], cells: Int = 7, tolerance: Tolerance = .differences,
    sourceLocation: SourceLocation = #_sourceLocation, _ loss: (Tape) throws -> Tensor
) throws {
    let tape = Tape()
    for parameter in parameters { parameter.zeroGradient() }
    tape.backward(try loss(tape))
    let h = 1e-5
    for parameter in parameters {
        let gradient = parameter.gradient.doubles()
        let values = parameter.master.doubles()
        let tried = stride(from: 0, to: values.count, by: max(1, values.count / cells)).map { $0 }
        let differences = try tried.map { cell in
            let sides = try [h, -h].map { step in
                var moved = values
                moved[cell] += step
                parameter.assign(Tensor(moved, shape: parameter.shape, device: testDevice))
                return try loss(Tape(recording: false)).item()
            }
            parameter.assign(Tensor(values, shape: parameter.shape, device: testDevice))
            return (sides[0] - sides[1]) / (2 * h)
        }
        expectClose(
            tried.map { gradient[$0] }, differences, tolerance, parameter.name,
            sourceLocation: sourceLocation)
    }
}
