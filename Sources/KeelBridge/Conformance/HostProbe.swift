import CKeel
import Glibc
import KeelCore
import KeelTensor

/// Stands between the plugin under test and the host's functions: notes what is asked, and can make any
/// function fail, lend guarded memory, or hold constants still.
///
/// Only in the processes of `keel plugin check`, whose function table it replaces in place.
enum HostProbe {
    /// The host functions that can fail.
    enum Service: String, CaseIterable, Sendable {
        case num, str, json, list, text, field, tokens, need, reduction, column, put, put_text,
            write, input, upload, op, shape, read, grad, metric_t
    }

    /// What the memory is like that text and columns are lent in.
    enum Memory: Sendable {
        /// The host's own.
        case plain
        /// Pages that cannot be written.
        case readOnly
        /// Texts and columns that end where readable memory ends.
        case edge
    }

    /// What becomes of constants that are made from values: detached tensors, uploads.
    enum Constants: Sendable {
        case live
        /// Their values are kept, in the order of the calls.
        case recorded
        /// They get the values that were kept, whatever the inputs are now.
        case replayed
    }

    struct State: Sendable {
        var counts: [Service: Int] = [:]
        var names: [Service: [String]] = [:]
        var fault: (service: Service, call: Int)?
        var memory = Memory.plain
        /// What fields hold that the row does not have; nil = nothing.
        var missingField: [UInt8]?
        /// Fields that were given that value.
        var invented: Set<String> = []
        var constants = Constants.live
        var kept: [Column] = []
        var next = 0
        /// Uploads are results of the plugin's own arithmetic, to be left alone.
        var isExplicit = false
    }

    static let state = Guarded(State())

    static let faultText = "injected by keel plugin check"

    /// The host's functions as they are.
    static let original: keel_host = HostTable.pointer.pointee

    /// Puts the probe in front of the host's functions; for the rest of this process.
    static func install() {
        var host = original
        parameters(&host)
        rows(&host)
        columns(&host)
        tensors(&host)
        UnsafeMutablePointer(mutating: HostTable.pointer).pointee = host
    }

    static func reset() { state.withLock { $0 = State() } }

    /// What `body` asks of the host.
    ///
    /// - Parameters:
    ///   - missingField: what fields hold that the rows do not have.
    ///   - known: fields that the rows have.
    static func tracing(
        missingField: [UInt8]? = nil, known: [String] = [], _ body: () throws -> Void
    ) rethrows -> State {
        reset()
        state.withLock {
            $0.missingField = missingField
            $0.invented = Set(known)
        }
        defer { reset() }
        try body()
        return state.withLock { $0 }
    }

    /// Runs with one call of one service failing.
    static func failing<T>(_ service: Service, call: Int, _ body: () throws -> T) rethrows -> T {
        state.withLock {
            $0 = State()
            $0.fault = (service, call)
        }
        defer { reset() }
        return try body()
    }

    static func lending<T>(_ memory: Memory, _ body: () throws -> T) rethrows -> T {
        state.withLock { $0.memory = memory }
        defer { state.withLock { $0.memory = .plain } }
        return try body()
    }

    /// Notes a call; false when it has to fail, which is then recorded in the call.
    private static func enter(
        _ service: Service, _ c: UnsafeMutablePointer<keel_call>?, _ name: UnsafePointer<CChar>?
    ) -> Bool {
        let isFailing = state.withLock { state in
            let count = state.counts[service, default: 0] + 1
            state.counts[service] = count
            if let name, state.names[service, default: []].count < 1000 {
                let text = String(cString: name)
                if state.names[service, default: []].contains(text) == false {
                    state.names[service, default: []].append(text)
                }
            }
            return state.fault.map { $0.service == service && $0.call == count } ?? false
        }
        if isFailing { Call.of(c)?.fail(CallFailure(.internal, faultText)) }
        return !isFailing
    }

    private static let failed = CallStatus.internal.rawValue
    private static var absent: keel_str { keel_str(p: nil, n: 0) }

    private static func parameters(_ host: inout keel_host) {
        host.num = { c, name in HostProbe.enter(.num, c, name) ? HostProbe.original.num(c, name) : 0
        }
        host.str = { c, name in
            HostProbe.enter(.str, c, name) ? HostProbe.original.str(c, name) : HostProbe.absent
        }
        host.json = { c, name in
            HostProbe.enter(.json, c, name) ? HostProbe.original.json(c, name) : HostProbe.absent
        }
        host.list = { c, name, n in
            n?.pointee = 0
            return HostProbe.enter(.list, c, name) ? HostProbe.original.list(c, name, n) : nil
        }
    }

    private static func rows(_ host: inout keel_host) {
        host.text = { c, column, row in
            guard HostProbe.enter(.text, c, column) else { return HostProbe.absent }
            return HostProbe.lent(c, HostProbe.original.text(c, column, row))
        }
        host.field = { c, row, pointer in
            guard HostProbe.enter(.field, c, pointer) else { return HostProbe.absent }
            let found = HostProbe.original.field(c, row, pointer)
            if found.p == nil, let call = Call.of(c),
                let text = HostProbe.invented(pointer.map { String(cString: $0) } ?? "")
            {
                return call.memory.string(text)
            }
            return HostProbe.lent(c, found)
        }
        host.tokens = { c, row, prompt, total in
            prompt?.pointee = 0
            total?.pointee = 0
            return HostProbe.enter(.tokens, c, nil)
                ? HostProbe.original.tokens(c, row, prompt, total) : nil
        }
    }

    private static func columns(_ host: inout keel_host) {
        host.need = { c, name in
            HostProbe.enter(.need, c, name) ? HostProbe.original.need(c, name) : HostProbe.failed
        }
        host.reduction = { c, name, constant in
            HostProbe.enter(.reduction, c, name)
                ? HostProbe.original.reduction(c, name, constant) : HostProbe.failed
        }
        host.column = { c, name, out in
            out?.pointee = keel_array()
            guard HostProbe.enter(.column, c, name) else { return HostProbe.failed }
            let status = HostProbe.original.column(c, name, out)
            if status == 0, let out { HostProbe.lend(c, &out.pointee) }
            return status
        }
        host.put = { c, name, array in
            HostProbe.enter(.put, c, name)
                ? HostProbe.original.put(c, name, array) : HostProbe.failed
        }
        host.put_text = { c, name, row, bytes, n in
            HostProbe.enter(.put_text, c, name)
                ? HostProbe.original.put_text(c, name, row, bytes, n) : HostProbe.failed
        }
        host.write = { c, bytes, n in
            HostProbe.enter(.write, c, nil)
                ? HostProbe.original.write(c, bytes, n) : HostProbe.failed
        }
    }

    private static func tensors(_ host: inout keel_host) {
        host.input = { c, name in
            HostProbe.enter(.input, c, name) ? HostProbe.original.input(c, name) : keel_t(id: 0)
        }
        host.upload = { c, array in
            guard HostProbe.enter(.upload, c, nil) else { return keel_t(id: 0) }
            let made = HostProbe.original.upload(c, array)
            return HostProbe.state.withLock(\.isExplicit) ? made : HostProbe.held(c, made)
        }
        host.op = { c, code, inputs, n, constants, nk in
            guard HostProbe.enter(.op, c, nil) else { return keel_t(id: 0) }
            let made = HostProbe.original.op(c, code, inputs, n, constants, nk)
            let isConstant =
                code == Int32(KEEL_OP_DETACH) || code == Int32(KEEL_OP_WHITEN)
            return isConstant ? HostProbe.held(c, made) : made
        }
        host.shape = { c, tensor, lengths, capacity in
            HostProbe.enter(.shape, c, nil)
                ? HostProbe.original.shape(c, tensor, lengths, capacity) : -1
        }
        host.read = { c, tensor, out in
            out?.pointee = keel_array()
            return HostProbe.enter(.read, c, nil)
                ? HostProbe.original.read(c, tensor, out) : HostProbe.failed
        }
        host.grad = { c, name, array in
            HostProbe.enter(.grad, c, name)
                ? HostProbe.original.grad(c, name, array) : HostProbe.failed
        }
        host.metric_t = { c, name, tensor, how in
            if HostProbe.enter(.metric_t, c, name) {
                HostProbe.original.metric_t(c, name, tensor, how)
            }
        }
    }

    /// A constant tensor with the value it had when values were recorded.
    private static func held(_ c: UnsafeMutablePointer<keel_call>?, _ made: keel_t) -> keel_t {
        guard let call = Call.of(c), made.id != 0 else { return made }
        switch state.withLock(\.constants) {
        case .live: return made
        case .recorded:
            if let value = try? call.value(made.id) { state.withLock { $0.kept.append(value) } }
            return made
        case .replayed:
            let kept: Column? = state.withLock { state in
                defer { state.next += 1 }
                return state.next < state.kept.count ? state.kept[state.next] : nil
            }
            guard let kept, let entry = try? call.tensors?.find(made.id),
                kept.shape == entry.tensor.shape
            else { return made }
            return call.tensor { () throws(CallFailure) in
                guard let table = call.tensors else { throw CallFailure(.internal, "no tensors") }
                return TensorTable.Entry(tensor: table.tensor(kept), sides: entry.sides)
            }
        }
    }

    /// What a field holds that the row does not have: the first few that are asked for, and nothing
    /// below them, lest a plugin that counts through a list finds no end.
    private static func invented(_ pointer: String) -> [UInt8]? {
        state.withLock { state in
            guard let text = state.missingField,
                state.invented.count < 8 || state.invented.contains(pointer),
                !state.invented.contains(where: { pointer.hasPrefix($0 + "/") })
            else { return nil }
            state.invented.insert(pointer)
            return text
        }
    }

    // MARK: - Guarded memory

    private static func lent(_ c: UnsafeMutablePointer<keel_call>?, _ text: keel_str) -> keel_str {
        let memory = state.withLock(\.memory)
        guard memory != .plain, let p = text.p else { return text }
        let copy = GuardedPages.copy(p, text.n, atEnd: memory == .edge)
        return keel_str(p: copy?.assumingMemoryBound(to: CChar.self) ?? p, n: text.n)
    }

    private static func lend(_ c: UnsafeMutablePointer<keel_call>?, _ array: inout keel_array) {
        let memory = state.withLock(\.memory)
        guard memory != .plain, let data = array.data else { return }
        let cells = (0..<Int(array.ndim)).reduce(1) { $0 * Int(array.shape?[$1] ?? 0) }
        let copy = GuardedPages.copy(data, cells * Int(array.bits) / 8, atEnd: memory == .edge)
        if let copy { array.data = UnsafeMutableRawPointer(mutating: copy) }
    }
}

/// Copies of bytes in pages of their own, with a page behind that cannot be read.
///
/// They are never given back: a process of `keel plugin check` is short.
enum GuardedPages {
    /// - Parameter atEnd: the bytes end where readable memory ends; else a NUL follows, and the pages
    ///   cannot be written.
    static func copy(
        _ source: UnsafeRawPointer, _ count: Int, atEnd: Bool
    ) -> UnsafeRawPointer? {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let size = (count + page) / page * page  // at least one byte more than `count`
        guard
            let start = mmap(
                nil, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { return nil }
        let place = atEnd ? start + size - count : start
        place.copyMemory(from: source, byteCount: count)
        if !atEnd { mprotect(start, size, PROT_READ) }
        mprotect(start + size, page, PROT_NONE)
        return UnsafeRawPointer(place)
    }
}
