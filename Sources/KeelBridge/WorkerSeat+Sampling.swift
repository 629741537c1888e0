import CWorker
import KeelCore

/// What a data sampler's callbacks give.
struct SamplerAnswer: Sendable {
    /// Row numbers of `order`; -1 where none was written.
    var rows: [Int64] = []
    var metrics = MetricSums()
}

/// A call of a data sampler.
struct SamplerCall: Sendable {
    enum Callback: String, Sendable { case order, feedback }

    var callback: Callback
    var batch: ColumnBatch
    var context: CallContext
    /// Of `order`: row numbers wanted.
    var length = 0
    /// Of `feedback`: the rows it is about.
    var numbers: [Int64] = []

    /// Where the call happens, for messages.
    var place: String {
        callback == .order
            ? "order, epoch \(Int(context.epoch))" : "feedback, step \(context.step)"
    }
}

extension WorkerSeat {
    /// Makes a call of a data sampler; a worker that fails is replaced once, with the state it began with.
    ///
    /// - Throws: `KeelError` (failed) that says what the plugin did, twice.
    func sample(_ call: SamplerCall, isSecond: Bool = false) throws -> SamplerAnswer {
        let process = try start(context: call.context)
        let answer: SamplerAnswer
        do throws(WorkerFailure) {
            answer = try attempt(call, process)
        } catch {
            // What a failed call has done to a state, nobody knows.
            if error.isHarmless { process.quit() }
            drop()
            if !isSecond, !error.isHarmless { return try sample(call, isSecond: true) }
            throw KeelError(
                "plugin", "\(setup.title): \(error.report)",
                at: "\(setup.component.path), \(call.place)", fix: error.fix(for: setup.component),
                code: .failed)
        }
        do {
            try keepState(process, context: call.context)
        } catch {
            guard !isSecond else { throw error }
            return try sample(call, isSecond: true)
        }
        return answer
    }

    private func attempt(
        _ call: SamplerCall, _ process: WorkerProcess
    ) throws(WorkerFailure) -> SamplerAnswer {
        let isOrder = call.callback == .order
        let reply = try process.ask(
            Int(KW_CALL), callback: Int(isOrder ? KW_ORDER : KW_FEEDBACK),
            outputSize: call.length * 8, watch: watch(options.timeout, context: call.context)
        ) {
            try $0.context(call.context)
            try $0.batch(
                call.batch, epoch: isOrder ? Int(call.context.epoch) : 0, numbers: call.numbers)
        }
        try setup.check(reply, extraNeeds: needs)
        var answer = SamplerAnswer()
        let unwritten = Int64(KW_UNWRITTEN) << 32 | Int64(KW_UNWRITTEN)
        answer.rows = process.numbers(call.length).map { $0 == unwritten ? -1 : $0 }
        for (name, how, value) in reply.metrics { answer.metrics.add(name, value, how) }
        return answer
    }
}

extension WorkerWriter {
    /// Any batch of columns and rows.
    mutating func batch(_ batch: ColumnBatch, epoch: Int = 0, numbers: [Int64] = []) throws {
        let base = place
        try word(batch.rows)
        try word(batch.rowIDs.count == batch.rows ? 1 : 0)
        if batch.rowIDs.count == batch.rows { try list(batch.rowIDs) }
        let texts = batch.text.sorted { $0.key < $1.key }
        let hasRows = !batch.rowJSON.isEmpty
        try word(texts.count + (hasRows ? 1 : 0))
        for (name, cells) in texts {
            try text(name)
            for row in 0..<batch.rows { try text(row < cells.count ? cells[row] : nil) }
        }
        if hasRows {
            try text("row")
            for row in 0..<batch.rows {
                try text(row < batch.rowJSON.count ? batch.rowJSON[row] : .null)
            }
        }
        let hasTokens = batch.tokens.count == batch.rows && batch.rows > 0
        try word(hasTokens ? 1 : 0)
        if hasTokens {
            for row in 0..<batch.rows {
                try word(row < batch.promptLengths.count ? batch.promptLengths[row] : 0)
                try word(batch.tokens[row].count)
                try list(batch.tokens[row])
            }
        }
        let columns = batch.columns.sorted { $0.key < $1.key }
        try word(columns.count)
        for (name, column) in columns {
            switch column.storage {
            case .doubles(let cells):
                try self.column(name, shape: column.shape, base: base, cells)
            case .ints(let cells): try self.column(name, shape: column.shape, base: base, cells)
            }
        }
        try word(epoch)
        try word(numbers.count)
        try list(numbers)
    }
}
