import KeelCore
import OrderedCollections

/// The best evaluation so far: its weights are kept, and become the run's result at the end.
///
/// An evaluation before the policy's first step is the mark to beat: it keeps nothing, and where nothing beats it the last
/// weights stay the result, with a warning.
struct BestModel {
    /// The folder in the run's that holds the weights of the best evaluation.
    static let folder = "best"

    /// The file in it that says whose weights they are.
    private static let stamp = "keel_best.json"

    private let mark: EvaluationMark
    private let directory: String
    private var value: Double?
    /// The step it was found at; nil before the policy's first.
    private var step: Int?

    /// nil where the config does not ask for it.
    init?(_ config: RunConfig, isOnline: Bool) {
        guard config.train.loadBestModelAtEnd else { return nil }
        mark = EvaluationMark(config.train, isOnline: isOnline)
        directory = config.outputDir
    }

    /// Looks at an evaluation, and keeps the weights where it is the best.
    ///
    /// - Parameters:
    ///   - isStart: the policy has not been trained yet.
    ///   - save: writes the weights to a folder.
    /// - Throws: `KeelError` (io).
    mutating func consider(
        _ values: OrderedDictionary<String, Double>, step: Int, isStart: Bool,
        save: (String) throws -> Void
    ) throws {
        guard let found = mark.value(values) else { return }
        if let value, !mark.isBetter(found, than: value) { return }
        if !isStart {
            try AtomicWrite.directory(Files.join(directory, BestModel.folder)) { folder in
                try save(folder)
                let stamp: JSON = [
                    "step": JSON(step), "metric": .string(mark.metric), "value": .double(found),
                ]
                try AtomicWrite.file(
                    Files.join(folder, BestModel.stamp), stamp.text(pretty: true) + "\n")
            }
        }
        (value, self.step) = (found, isStart ? nil : step)
    }

    /// At the end of the run, when the last weights are in its folder: puts the best in their place.
    ///
    /// - Throws: `KeelError` (io).
    func finish() throws {
        guard let value else {
            Log.warning(
                "no evaluation had \"\(mark.metric)\" (train.metric_for_best_model): the last weights are the result"
            )
            return
        }
        guard let step else {
            Log.warning(
                "no evaluation was better than the start's \(mark.metric) of \(value): the last weights are the result"
            )
            return
        }
        let best = Files.join(directory, BestModel.folder)
        for name in try Files.list(best)
        where name != BestModel.stamp && Files.isRegular(Files.join(best, name)) {
            let bytes = try Files.read(Files.join(best, name))
            try AtomicWrite.file(Files.join(directory, name), bytes)
        }
        Log.notice("the weights of step \(step) are the result: \(mark.metric) \(value)")
    }

    // MARK: - State

    /// For a checkpoint.
    var json: JSON {
        [
            "value": value.map { .double($0) } ?? .null, "step": step.map { JSON($0) } ?? .null,
        ]
    }

    /// Goes on where a checkpoint was written.
    ///
    /// The folder of the best weights belongs to the run, not to the checkpoint: a later step's may be in it by now, or
    /// it is another run's. Then the best is looked for anew.
    mutating func restore(_ state: JSON?) {
        value = state?["value"]?.double
        step = state?["step"]?.int
        guard let step, step != keptStep else { return }
        Log.warning(
            "the weights of step \(step), the best before the checkpoint, are not in "
                + "\(Files.join(directory, BestModel.folder)) any more: the best from here on is the result"
        )
        (value, self.step) = (nil, nil)
    }

    /// The step whose weights are in the folder; nil where it does not say, or is not there.
    private var keptStep: Int? {
        let path = Files.join(Files.join(directory, BestModel.folder), BestModel.stamp)
        return try? JSON.parse(try Files.read(path), name: path)["step"]?.int
    }
}
