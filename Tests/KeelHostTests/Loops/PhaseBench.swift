import Foundation
import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelHost

/// The objectives of `Fixtures/plugins/phases.c` on tiny models, alone or in whole runs.
enum PhaseBench {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    static let device = Device.cpu(threads: 2)
    static let folder: String = {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-phases-\(getpid())"
        ).path
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }()
    static let catalog = PluginCatalog(searchPaths: [], cacheFolder: folder)

    /// The compiled plugin.
    static let library = Result {
        let output = "\(folder)/phases.so"
        let status = try Subprocess.run([
            "cc", "-std=c11", "-O1", "-fPIC", "-shared", "-I",
            root.appendingPathComponent("SDK/C/include").path,
            root.appendingPathComponent("Tests/Fixtures/plugins/phases.c").path, "-o", output,
        ])
        try #require(status == 0, "cc refused phases.c")
        return output
    }

    static func objective(
        _ name: String, _ params: JSONObject = [:], precision: ObjectiveInstance.Precision = .f64
    ) throws -> ObjectiveInstance {
        let component = try catalog.find("\(try library.get())#\(name)", kind: .objective)
        return try ObjectiveInstance(
            component, catalog: catalog, parameters: try component.validate(params: params),
            seed: 1, device: device, precision: precision)
    }

    static let modelConfig: JSONObject = [
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 23,
        "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rope_theta": 100.0, "eos_token_id": 2, "initializer_range": 0.3,
    ]

    /// Folders of models by seed, made once.
    private static let bases = Result {
        try Dictionary(
            uniqueKeysWithValues: [UInt64(3), 4, 6].map { seed in
                let path = "\(folder)/model-\(seed)"
                try Model.new(
                    ModelConfig(modelConfig, path: "config.json"), seed: seed, device: device
                ).save(to: path)
                return (seed, path)
            })
    }

    /// A model with random weights; `outputs` as `Model.load` takes them.
    static func model(
        _ outputs: Outputs? = nil, dtype: DType = .f64, seed: UInt64 = 3
    ) throws -> Model {
        try Model.load(
            directory: try #require(try bases.get()[seed]), dtype: dtype, device: device,
            outputs: outputs, scoreStart: .normal(2),
            seed: seed)
    }

    /// Networks in f64 with everything that an objective's heads ask for.
    static func networks(
        _ objective: ObjectiveInstance, temperature: Double = 0.9
    ) throws
        -> Networks
    {
        let heads = objective.component.heads
        let head = heads.first { $0.hasPrefix("value_head:") }
        let kind = head.flatMap { ValueHead.Kind(rawValue: String($0.dropFirst(11))) }
        var settings = ValueHead.Settings()
        settings.maxValue = kind == .linear ? nil : 2
        let valueHead = try kind.map {
            try ValueHead(
                $0, hiddenSize: 16, settings: settings, seed: 5, dtype: .f64, device: device)
        }
        // Zeros would hide mistakes.
        for parameter in valueHead?.parameters ?? [] {
            let noise = Generator(parameter.name).doubles(parameter.count, -0.3...0.3)
            let values = zip(parameter.master.doubles(), noise).map(+)
            parameter.assign(Tensor(values, shape: parameter.shape, device: device))
        }
        return Networks(
            policy: try model(heads.contains("reward_head") ? [.language, .score] : nil),
            critic: heads.contains("critic") ? try model(.score, seed: 4) : nil,
            valueHead: valueHead, reference: kind == .linear ? nil : try model(seed: 6),
            temperature: temperature, seed: 9)
    }

    /// The update of a phase, all parts of it trained.
    static func update(
        _ objective: ObjectiveInstance, _ networks: Networks, phase name: String = "policy",
        data: String? = nil, microBatchRows: Int = 100, facts: [String: Double] = [:]
    ) throws -> PolicyUpdate {
        let phase = try #require(objective.component.phase(name))
        let plan = try HeadPlan(objective.component, RunConfig())
        let parts = try plan.parts(of: phase, objective.component)
        let trainers = Trainers(networks, Set(parts), RunConfig())
        return PolicyUpdate(
            networks: networks, objective: objective, phase: phase,
            reduction: objective.reduction(phase: name), reductionConstant: nil,
            sides: Sides(
                dataKind: data ?? phase.data ?? objective.component.data ?? ""),
            microBatchRows: microBatchRows, trainers: trainers.all, communicator: SingleRank(),
            facts: facts)
    }

    /// Rows of different lengths; groups of `group` completions of one prompt.
    static func rows(_ count: Int, sides: Int = 1, group: Int = 1) -> [TokenizedRow] {
        let stream = RandomStream(seed: 8, place: "rows")
        func ids(_ place: Int, _ count: Int) -> [Int32] {
            (0..<count).map { Int32(stream.below(23, UInt64(place * 40 + $0))) }
        }
        return (0..<count).map { i in
            TokenizedRow(
                index: i / group, prompt: ids(i / group, 3 + (i / group) % 3),
                completions: (0..<sides).map { ids(100 + i * sides + $0, 2 + (i + $0) % 4) })
        }
    }

    /// Expects the gradients that `update` leaves in the parameters to be the differences of its loss, in f64,
    /// and the same whatever the micro-batches.
    static func expectGradients(
        _ update: PolicyUpdate, rows: [TokenizedRow], columns: ColumnBatch,
        splits: [PolicyUpdate] = [], cells: Int = 5,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let context = update.context(step: 3, epoch: 0)
        func run(_ update: PolicyUpdate, training: Bool) throws -> Double {
            try update.evaluate(
                rows: rows, columns: columns, isTraining: training, context: context
            ).loss
        }
        let parameters = update.trainers.flatMap(\.optimizer.parameters)
        update.networks.zeroGradients()
        let loss = try run(update, training: true)
        #expect(loss.isFinite, sourceLocation: sourceLocation)
        let gradients = parameters.map { $0.gradient.doubles() }
        #expect(
            gradients.contains { $0.contains { abs($0) > 1e-6 } }, "no gradient at all",
            sourceLocation: sourceLocation)
        for split in splits {
            update.networks.zeroGradients()
            expectClose(
                [try run(split, training: true)], [loss],
                Tolerance(relative: 1e-12, absolute: 1e-12),
                "loss of micro-batches of \(split.microBatchRows)", sourceLocation: sourceLocation)
            for (parameter, whole) in zip(parameters, gradients) {
                expectClose(
                    parameter.gradient.doubles(), whole, Tolerance(relative: 1e-9, absolute: 1e-11),
                    "\(parameter.name), micro-batches of \(split.microBatchRows)",
                    sourceLocation: sourceLocation)
            }
        }
        let h = 1e-5
        for (parameter, gradient) in zip(parameters, gradients) {
            let values = parameter.master.doubles()
            let tried = stride(from: 0, to: values.count, by: max(1, values.count / cells)).map {
                $0
            }
            let differences = try tried.map { cell in
                let sides = try [h, -h].map { step in
                    var moved = values
                    moved[cell] += step
                    parameter.assign(Tensor(moved, shape: parameter.shape, device: device))
                    return try run(update, training: false)
                }
                parameter.assign(Tensor(values, shape: parameter.shape, device: device))
                return (sides[0] - sides[1]) / (2 * h)
            }
            expectClose(
                tried.map { gradient[$0] }, differences, .differences, parameter.name,
                sourceLocation: sourceLocation)
        }
    }
}
