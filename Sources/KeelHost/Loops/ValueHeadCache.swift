import KeelCore
import KeelData
import KeelModel
import OrderedCollections

/// Trained value heads on disk, by content: a phase that was made before is not made again.
///
/// A folder per head: its weights, and what each step of its training reported. The key names all that the head
/// depends on; what does not read back whole is trained anew.
struct ValueHeadCache {
    /// What the steps of a phase reported, for the log of a run that does not make them.
    typealias Trace = [StepResult]

    private static let traceFile = "steps.json"
    private let folder: String
    private let settings: String

    /// - Parameters:
    ///   - folder: Keel's cache folder.
    ///   - settings: everything that the head depends on but the rows.
    init(folder: String, settings: [String]) {
        self.folder = Files.join(folder, "value_heads")
        self.settings = settings.joined(separator: "\n")
    }

    /// The folder of the head that is fitted to these rows.
    private func place(_ rows: OfflineRows) -> String {
        var hash = SHA256()
        hash.update("value head 1 \(Build.version)\n" + settings)
        for row in rows.rows {
            hash.update(row.prompt)
            hash.update("|")
            for value in rows.values[row.index].rewards ?? [] { hash.update("\(value) ") }
            hash.update("\n")
        }
        return Files.join(folder, String(hash.hex().prefix(32)))
    }

    /// Gives the head the weights of an earlier training.
    ///
    /// - Returns: what its steps reported; nil where there is none.
    func read(_ rows: OfflineRows, into head: ValueHead) -> Trace? {
        let place = place(rows)
        guard Files.isDirectory(place),
            let bytes = try? Files.read(Files.join(place, ValueHeadCache.traceFile)),
            let object = try? JSON.parse(bytes, name: place), let steps = object["steps"]?.array,
            let weights = try? Files.read(Files.join(place, ValueHead.file)),
            object["check"]?.string == ValueHeadCache.check(weights, object["steps"] ?? .null),
            let values = try? head.stored(in: place, as: ValueHead.file)
        else { return nil }
        let trace = steps.compactMap(StepResult.init(json:))
        guard trace.count == steps.count else { return nil }
        head.assign(values)
        return trace
    }

    /// Keeps a trained head; one that cannot be written costs time later, not the run.
    func write(_ rows: OfflineRows, _ head: ValueHead, _ trace: Trace) {
        let place = place(rows)
        do {
            try Files.makeDirectory(folder)
            try AtomicWrite.directory(place) { path in
                try head.save(to: path)
                let steps = JSON.array(trace.map(\.json))
                let weights = try Files.read(Files.join(path, ValueHead.file))
                let object: JSON = [
                    "check": .string(ValueHeadCache.check(weights, steps)), "steps": steps,
                ]
                try AtomicWrite.file(
                    Files.join(path, ValueHeadCache.traceFile), object.text() + "\n")
            }
        } catch {
            Log.warning("the value head could not be cached: \(error)")
        }
    }

    private static func check(_ weights: [UInt8], _ steps: JSON) -> String {
        SHA256.hex(SHA256.hex(weights) + steps.text())
    }
}

extension StepResult {
    /// Every number to its last bit, but the times of a clock.
    var json: JSON {
        [
            "loss": .double(loss), "grad_norm": .double(gradNorm),
            "learning_rate": .double(learningRate), "tokens": JSON(tokens),
            "metrics": .object(
                JSONObject(
                    pairs: metrics.filter { !$0.key.hasPrefix("perf/") }.map {
                        ($0.key, .double($0.value))
                    })),
        ]
    }

    /// What `json` gave; nil where something is missing.
    init?(json: JSON) {
        guard let loss = json["loss"]?.double, let norm = json["grad_norm"]?.double,
            let rate = json["learning_rate"]?.double, let tokens = json["tokens"]?.int,
            let metrics = json["metrics"]?.object
        else { return nil }
        self.init(
            loss: loss, gradNorm: norm, learningRate: rate, tokens: tokens,
            metrics: OrderedDictionary(
                metrics.pairs.compactMap { pair in pair.value.double.map { (pair.key, $0) } },
                uniquingKeysWith: { $1 }))
    }
}
