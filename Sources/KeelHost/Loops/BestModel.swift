import KeelCore
import OrderedCollections

/// The best evaluation so far: its weights are kept, and become the run's result at the end.
///
/// An evaluation before the policy's first step is the mark to beat: it keeps nothing, and where nothing beats it the last
/// weights stay the result, with a warning.
struct BestModel {
    /// The folder in the run's that holds the weights of the best evaluation.
    static let folder = "best"

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
            try AtomicWrite.directory(Files.join(directory, BestModel.folder), save)
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
        for name in try Files.list(best) where Files.isRegular(Files.join(best, name)) {
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
    mutating func restore(_ state: JSON?) {
        value = state?["value"]?.double
        step = state?["step"]?.int
    }
}
