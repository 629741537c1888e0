import KeelCore

/// What `keel plugin check` asks of a library: where symbols come from, segments, flags.
extension ELFFile {
    /// What the loader gives the stack of the process.
    enum Stack: Sendable { case plain, executable, unstated }

    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    func stack() throws -> Stack {
        guard let table = load(32, UInt64.self).flatMap({ Int(exactly: $0) }),
            let size = load(54, UInt16.self), let count = load(56, UInt16.self)
        else { throw truncated }
        for index in 0..<Int(count) {
            let at = table + index * Int(size)
            guard let kind = load(at, UInt32.self), let flags = load(at + 4, UInt32.self) else {
                throw truncated
            }
            if kind == 0x6474_E551 { return flags & 1 == 0 ? .plain : .executable }  // PT_GNU_STACK
        }
        return .unstated
    }

    /// Whether the loader has to rewrite code.
    ///
    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    func hasTextRelocations() throws -> Bool {
        guard let table = try section(6) else { return false }  // SHT_DYNAMIC
        for entry in stride(from: table.start, to: table.end - 15, by: 16) {
            guard let tag = load(entry, UInt64.self), let value = load(entry + 8, UInt64.self)
            else { throw truncated }
            if tag == 0 { break }
            if tag == 22 || tag == 30 && value & 4 != 0 { return true }  // DT_TEXTREL, DF_TEXTREL
        }
        return false
    }

    /// Symbols that another library has to define; weak ones may be missing.
    ///
    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    func undefinedSymbols() throws -> [String] {
        guard let table = try section(11) else { return [] }  // SHT_DYNSYM
        var names: [String] = []
        for at in stride(from: table.start + 24, to: table.end - 23, by: 24) {
            guard let name = load(at, UInt32.self), let info = load(at + 4, UInt8.self),
                let place = load(at + 6, UInt16.self)
            else { throw truncated }
            if place == 0, info >> 4 == 1 { names.append(try text(table, name)) }
        }
        return names
    }
}
