import KeelCore

/// What can be told about a shared library without loading it.
///
/// Every offset is checked against the size of the file: a file that lies ends in an error.
package struct ELFFile {
    private let file: MappedFile
    private var bytes: UnsafeRawBufferPointer { file.bytes }
    private var path: String { file.path }

    /// - Throws: `KeelError` (unavailable) unless the file is a shared library for this machine.
    package init(_ file: MappedFile) throws {
        self.file = file
        guard bytes.count >= 64, bytes[0] == 0x7F, bytes[1] == 0x45, bytes[2] == 0x4C,
            bytes[3] == 0x46
        else {
            throw refuse(
                "is not a shared library (no ELF header)",
                fix: "give the .so file that the compiler made; `keel plugin build FILE` makes one")
        }
        guard bytes[4] == 2, bytes[5] == 1 else {
            throw refuse("is not a 64-bit little-endian library")
        }
        let type = load(16, UInt16.self) ?? 0
        let machine = load(18, UInt16.self) ?? 0
        guard machine == ELFFile.thisMachine else {
            throw refuse(
                "was built for \(ELFFile.name(machine)), this machine is \(ELFFile.name(ELFFile.thisMachine))",
                fix: "build the plugin on this kind of machine")
        }
        guard type == 3 else {
            throw refuse("is an ELF file but no shared library", fix: "link it with -shared")
        }
        try checkSegments()
    }

    /// The loader maps segments without asking whether the file is long enough for them.
    private func checkSegments() throws {
        guard let table = load(32, UInt64.self), let entry = load(54, UInt16.self),
            let count = load(56, UInt16.self), entry >= 56
        else { throw truncated }
        for index in 0..<UInt64(count) {
            let (offset, overflow) = table.addingReportingOverflow(index * UInt64(entry))
            guard !overflow, let at = Int(exactly: offset), at <= bytes.count - 56,
                let start = load(at + 8, UInt64.self), let size = load(at + 32, UInt64.self),
                size <= UInt64(bytes.count), start <= UInt64(bytes.count) - size || size == 0
            else { throw truncated }
        }
    }

    /// Whether a function is exported; nil when the file has no section table to tell.
    ///
    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    func exports(_ symbol: String) throws -> Bool? { try exportedSymbols()?.contains(symbol) }

    /// The names of all functions and data that other programs can see; nil without a section table.
    ///
    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    package func exportedSymbols() throws -> [String]? { try symbols()?.map(\.name) }

    /// A symbol that other programs can see.
    struct Symbol {
        var name: String
        /// False for data.
        var isFunction: Bool
    }

    /// The same with what each of them is.
    func symbols() throws -> [Symbol]? {
        guard let table = try section(11) else { return hasSections ? [] : nil }  // SHT_DYNSYM
        var symbols: [Symbol] = []
        for symbolAt in stride(from: table.start, to: table.end - 23, by: 24) {
            guard let name = load(symbolAt, UInt32.self), let info = load(symbolAt + 4, UInt8.self),
                let other = load(symbolAt + 5, UInt8.self),
                let section = load(symbolAt + 6, UInt16.self)
            else { throw truncated }
            // Defined, global or weak, default or protected; 0xFFF1 are names of versions.
            guard section != 0, section != 0xFFF1, info >> 4 == 1 || info >> 4 == 2,
                other & 3 == 0 || other & 3 == 3
            else { continue }
            // STT_FUNC and STT_GNU_IFUNC.
            let isFunction = info & 15 == 2 || info & 15 == 10
            symbols.append(Symbol(name: try text(table, name), isFunction: isFunction))
        }
        return symbols
    }

    /// The libraries that the loader must find for this one; nil without a section table.
    ///
    /// - Throws: `KeelError` (unavailable) when a table points outside of the file.
    package func neededLibraries() throws -> [String]? {
        guard let table = try section(6) else { return hasSections ? [] : nil }  // SHT_DYNAMIC
        var names: [String] = []
        for entry in stride(from: table.start, to: table.end - 15, by: 16) {
            guard let tag = load(entry, UInt64.self), let value = load(entry + 8, UInt64.self)
            else { throw truncated }
            if tag == 0 { break }
            if tag == 1 { names.append(try text(table, UInt32(truncatingIfNeeded: value))) }
        }
        return names
    }

    // MARK: - Sections

    /// Where a section lies in the file, and the texts it refers to.
    struct Section {
        var start: Int
        var end: Int
        var texts: Range<Int>
    }

    var hasSections: Bool {
        (load(40, UInt64.self) ?? 0) != 0 && load(60, UInt16.self) != 0
    }

    /// The first section of a kind.
    func section(_ wanted: UInt32) throws -> Section? {
        guard let table = load(40, UInt64.self), table != 0, let entry = load(58, UInt16.self),
            let count = load(60, UInt16.self), count > 0, entry >= 64
        else { return nil }
        for index in 0..<UInt64(count) {
            let at = try place(table, index * UInt64(entry))
            guard let kind = load(at + 4, UInt32.self) else { throw truncated }
            guard kind == wanted else { continue }
            guard let link = load(at + 40, UInt32.self) else { throw truncated }
            let own = try range(at)
            return Section(
                start: own.lowerBound, end: own.upperBound,
                texts: try range(try place(table, UInt64(link) * UInt64(entry))))
        }
        return nil
    }

    /// The bytes of the section whose header lies at `at`.
    private func range(_ at: Int) throws -> Range<Int> {
        guard let start = load(at + 24, UInt64.self), let size = load(at + 32, UInt64.self),
            let end = Int(exactly: start &+ size), end <= bytes.count, start <= UInt64(end)
        else { throw truncated }
        return Int(start)..<end
    }

    /// The text at an offset of a section's table of texts.
    func text(_ section: Section, _ offset: UInt32) throws -> String {
        let first = section.texts.lowerBound + Int(offset)
        guard first < section.texts.upperBound,
            let end = bytes[first..<section.texts.upperBound].firstIndex(of: 0)
        else { throw truncated }
        return String(decoding: bytes[first..<end], as: UTF8.self)
    }

    func place(_ base: UInt64, _ offset: UInt64) throws -> Int {
        let (sum, overflow) = base.addingReportingOverflow(offset)
        guard !overflow, let at = Int(exactly: sum), at <= bytes.count - 64 else { throw truncated }
        return at
    }

    func load<T: FixedWidthInteger>(_ at: Int, _: T.Type) -> T? {
        guard at >= 0, at <= bytes.count - MemoryLayout<T>.size else { return nil }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: T.self))
    }

    var truncated: KeelError {
        refuse("is damaged: a part of it lies outside of the file", fix: "build or copy it again")
    }

    private func refuse(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("plugin", "\(Files.name(path)) \(what)", at: path, fix: fix, code: .unavailable)
    }

    private static var thisMachine: UInt16 {
        #if arch(arm64)
            183
        #else
            62
        #endif
    }

    private static func name(_ machine: UInt16) -> String {
        switch machine {
        case 3: "32-bit x86"
        case 40: "32-bit ARM"
        case 62: "x86-64"
        case 183: "aarch64"
        case 243: "RISC-V"
        default: "machine type \(machine)"
        }
    }
}
